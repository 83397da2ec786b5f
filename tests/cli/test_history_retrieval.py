"""Retrieval with histories: what comes later, or at the same time, tells nothing of what a user chooses."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

SPEC = """\
data:
  train: log.parquet
  split: {method: time, valid: 0.25, test: 0.25}
embed_dim: 16
features:
  item: {type: sparse, tower: item}
  past: {type: history, of: item, max_len: 20, pooling: %s}
  latest: {type: history, of: item, max_len: 2, pooling: %s}
user: user
item: item
time: time
model: {name: %s}
trainer:
  n_epoch: %d
  batch_size: %d
  optimizer_params: {lr: 1e-2}
  metrics: [recall@10]
  monitor: recall@10
  baselines: []
  device: cpu
"""
ITEMS = 100  # drawn at random; as many others each go with one of them
CHANCE = 10 / (2 * ITEMS)


def write(folder, apart):
    """Users choose a random item, and the one that goes with it: ``apart`` moments later, or at the same time."""
    random = np.random.default_rng(3)
    users, pairs = 250, 12
    first = random.integers(0, ITEMS, (users, pairs))
    items = np.stack([first, first + ITEMS], axis=2)
    time = np.stack([np.arange(pairs) * 2, np.arange(pairs) * 2 + apart], axis=1)[None].repeat(users, 0)
    rows = random.permutation(items.size)  # the order of the files says nothing
    columns = {"user": np.arange(users)[:, None, None].repeat(pairs, 1).repeat(2, 2), "item": items, "time": time}
    pq.write_table(pa.table({name: values.ravel()[rows] for name, values in columns.items()}), folder / "log.parquet")


def recall(here, folder, model):
    if model == "sasrec":
        text = SPEC.replace("  latest: {type: history, of: item, max_len: 2, pooling: %s}\n", "")
        text %= ("none", model, 12, 32)
    else:
        text = SPEC % ("mean", "mean", model, 8, 256)
    (folder / f"{model}.yaml").write_text(text)
    ended = here("train-match", f"{model}.yaml", "-o", model, cwd=folder)
    assert ended.code == 0, ended.err
    return json.loads((folder / model / "run.json").read_text())["test"]["recall@10"]


@pytest.mark.parametrize("model", ["sasrec", "dssm"])
def test_what_is_chosen_at_the_same_time_tells_nothing(model, tmp_path, here):
    write(tmp_path, apart=0)
    assert recall(here, tmp_path, model) < CHANCE + 0.05


@pytest.mark.parametrize("model", ["sasrec", "dssm"])
def test_what_comes_later_tells_nothing_of_what_was_before(model, tmp_path, here):
    """Half of the test rows follow from the row before them, and the other half from the row after them."""
    write(tmp_path, apart=1)
    assert 0.42 < recall(here, tmp_path, model) < 0.5 + 1.5 * CHANCE


def test_a_history_of_item_columns_is_found_again_after_training(tmp_path, here):
    """The log has the item alone; what kind of item it is stands in the table of items, and in the run."""
    write(tmp_path, apart=1)
    items = np.arange(2 * ITEMS)
    pq.write_table(pa.table({"item": items, "kind": items % 7}), tmp_path / "items.parquet")
    text = SPEC % ("mean", "mean", "dssm", 2, 256)
    text = text.replace("of: item, max_len: 20", "of: [item, kind], max_len: 20")
    text = text.replace("data:\n", "data:\n  items: items.parquet\n").replace(
        "features:\n", "features:\n  kind: {type: sparse}\n"
    )
    (tmp_path / "dssm.yaml").write_text(text)
    ended = here("train-match", "dssm.yaml", "-o", "run", cwd=tmp_path)
    assert ended.code == 0, ended.err
    log = pq.read_table(tmp_path / "log.parquet")
    pq.write_table(log.filter(log["time"].to_numpy() >= 18), tmp_path / "test.parquet")
    ended = here("evaluate", "run", "-d", "test.parquet", "--json", cwd=tmp_path)
    assert ended.code == 0, ended.err
    then = json.loads((tmp_path / "run" / "run.json").read_text())["test"]
    found = json.loads(ended.out)["metrics"]
    assert {name: found[name] for name in then} == pytest.approx(then, abs=1e-9)


def test_a_sequential_model_learns_from_all_events_of_a_user_or_from_the_newest(tmp_path, here):
    """In training every user ends with 20 times one item; what goes with what was seen before that."""
    random = np.random.default_rng(4)
    for part, users, same in (("train", 250, 20), ("test", 100, 0)):
        first = random.integers(1, 21, (users, 12))
        pairs = np.stack([first, first + 20], axis=2).reshape(users, -1)
        items = np.concatenate([pairs, np.zeros((users, same), int)], axis=1)
        user, time = np.indices(items.shape)
        table = pa.table({"user": user.ravel(), "item": items.ravel(), "time": time.ravel()})
        pq.write_table(table, tmp_path / f"{part}.parquet")
    text = SPEC.replace("  latest: {type: history, of: item, max_len: 2, pooling: %s}\n", "") % (
        "none",
        "sasrec",
        6,
        32,
    )
    text = text.replace("log", "train").replace("split: {method: time, valid: 0.25, test: 0.25}", "test: test.parquet")
    (tmp_path / "spec.yaml").write_text(text.replace("recall@10", "recall@1"))
    found = {}
    for windows in ("all", "last"):
        ended = here("train-match", "spec.yaml", "-s", f"features.past.windows={windows}", "-o", windows, cwd=tmp_path)
        assert ended.code == 0, ended.err
        found[windows] = json.loads((tmp_path / windows / "run.json").read_text())["test"]["recall@1"]
    assert found["all"] > 0.42
    assert found["last"] < 0.1


@pytest.mark.parametrize("model", ["item_knn", "ease"])
def test_a_counting_model_knows_new_users_by_their_histories(model, tmp_path, here):
    """Each of them chooses an item and then the one that goes with it, which the first choice tells."""
    write(tmp_path, apart=1)
    items = np.stack([np.arange(ITEMS), np.arange(ITEMS) + ITEMS], axis=1)
    user, time = np.indices(items.shape)
    new = pa.table({"user": user.ravel() + 1000, "item": items.ravel(), "time": time.ravel()})
    pq.write_table(new, tmp_path / "test.parquet")
    text = SPEC.replace("split: {method: time, valid: 0.25, test: 0.25}", "test: test.parquet")
    (tmp_path / "spec.yaml").write_text((text % ("mean", "mean", model, 1, 256)).replace("recall@10", "recall@1"))
    ended = here("train-match", "spec.yaml", "-o", "run", cwd=tmp_path)
    assert ended.code == 0, ended.err
    assert json.loads((tmp_path / "run" / "run.json").read_text())["test"]["recall@1"] > 0.45
    ended = here("evaluate", "run", "-d", "test.parquet", "--json", cwd=tmp_path)
    assert json.loads(ended.out)["metrics"]["recall@1"] > 0.45
    ended = here("predict", "run", "-d", "test.parquet", "-o", "scores.parquet", cwd=tmp_path)
    assert ended.code == 0, ended.err
    scores = pq.read_table(tmp_path / "scores.parquet")["score"].to_numpy().reshape(ITEMS, 2)
    assert (scores[:, 0] == 0).all()  # nothing came before
    assert (scores[:, 1] > 0).all()
