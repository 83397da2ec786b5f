"""A log with a taste that is plain to see: users of even numbers have items of even numbers, the others odd ones."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

N_USERS, N_ITEMS = 120, 40

SPEC = """\
data: {{train: log.parquet, items: items.parquet}}
embed_dim: 8
features:
  past: {{type: history, of: item_id, max_len: 10}}
  item_id: {{type: sparse}}
  colour: {{type: sparse}}
user: user_id
item: item_id
time: time
model: {{name: {model}, params: {params}}}
trainer: {{n_epoch: {epochs}, batch_size: 64, optimizer_params: {{lr: 0.02}}, device: cpu}}
"""
MODELS = {
    "dssm": ("dssm", "{user_hidden_dims: [16, 8], item_hidden_dims: [16, 8]}", 6),
    "interests": ("comirec_sa", "{interests: 3}", 1),
    "adaptive": ("mind", "{interests: 4}", 1),
    "popular": ("popular", "{}", 1),
    "item_knn": ("item_knn", "{}", 1),
}


def item(number):
    return f"i{number:02d}"


def made_log():
    rng = np.random.default_rng(7)
    rows = []
    for user in range(N_USERS):
        taste = 2 * rng.permutation(N_ITEMS // 2)[: rng.integers(4, 9)] + user % 2
        rows += [(user, item(number), 1000 * user + place) for place, number in enumerate(taste)]
    users, items, times = zip(*(rows[at] for at in rng.permutation(len(rows))), strict=True)
    return pa.table({"user_id": pa.array(users, pa.int32()), "item_id": items, "time": times})


LOG = made_log()
COLOURS = ["red" if number % 2 else "green" for number in range(N_ITEMS)]
ITEMS = pa.table({"item_id": [item(number) for number in range(N_ITEMS)], "colour": COLOURS})
USERS = pa.table({"user_id": pa.array(range(N_USERS), pa.int32())})


def write_data(folder):
    for name, table in {"log": LOG, "items": ITEMS, "users": USERS}.items():
        pq.write_table(table, folder / f"{name}.parquet")
    for name, (model, params, epochs) in MODELS.items():
        (folder / f"{name}.yaml").write_text(SPEC.format(model=model, params=params, epochs=epochs))
    return folder


def had(user):
    """The items of a user in the log."""
    return {row["item_id"] for row in LOG.to_pylist() if row["user_id"] == user}
