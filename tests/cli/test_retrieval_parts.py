"""What each part of a log may know: popularity of training alone, and all of a user's past when it is asked for."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

SPEC = """\
data: {train: train.parquet}
embed_dim: 8
features:
  latest: {type: history, of: item, max_len: 1}
  item: {type: sparse}
user: user
item: item
time: time
model: {name: dssm, params: {user_hidden_dims: [16], item_hidden_dims: [16]}}
trainer: {n_epoch: 30, batch_size: 64, optimizer_params: {lr: 0.02}, metrics: [hr@1], monitor: hr@1, device: cpu}
"""
ITEMS = 20


def trained(here, folder, *flags):
    """The run's document, after training the spec with ``--set`` of each flag."""
    (folder / "spec.yaml").write_text(SPEC)
    sets = [part for flag in flags for part in ("--set", flag)]
    ended = here("train-match", "spec.yaml", "-o", "run", *sets, cwd=folder)
    assert ended.code == 0, ended.err
    return json.loads((folder / "run" / "run.json").read_text())


def test_the_event_of_validation_is_past_when_the_last_one_is_asked_for(here, tmp_path):
    """Items follow one another in a circle: who does not see the one before the last is one item behind."""
    start = np.arange(60)[:, None]
    steps = np.arange(6)[None]
    columns = {"user": start + 0 * steps, "item": (start + steps) % ITEMS, "time": steps + 0 * start}
    pq.write_table(pa.table({name: values.ravel() for name, values in columns.items()}), tmp_path / "train.parquet")
    run = trained(here, tmp_path, "data.split={method: leave_one_out, valid: 0.1, test: 0.1}", "trainer.baselines=[]")
    assert run["test"]["hr@1"] > 0.9


def test_popularity_is_that_of_training(here, tmp_path):
    """Item 0 in training; item 7 in validation and test, where it would be found if it were counted there."""
    rng = np.random.default_rng(0)
    for part, often, n in (("train", 0, 200), ("valid", 7, 900), ("test", 7, 900)):
        item = np.where(np.arange(n) % 2, often, rng.integers(0, ITEMS, n))
        rows = {
            "user": np.arange(n) % 100,
            "item": item,
            "time": np.arange(n) + {"train": 0, "valid": 500, "test": 2000}[part],
        }
        pq.write_table(pa.table(rows), tmp_path / f"{part}.parquet")
    run = trained(here, tmp_path, "data.valid=valid.parquet", "data.test=test.parquet", "model={name: popular}")
    assert run["test"]["hr@1"] < 0.1
