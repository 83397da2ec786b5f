"""Histories through the commands: what a row may not see teaches nothing, and serving sees what training saw."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import rechub_cli

SPEC = """\
data:
  train: log.parquet
  split: {method: time, valid: 0.2, test: 0.2}
embed_dim: 8
features:
  item: {type: sparse}
  recent: {type: history, of: item, max_len: 2, pooling: sum}
labels:
  %s: {type: classification}
user: user
item: item
time: time
model:
  name: mlp
  params: {hidden_dims: [32], dropout: 0.0}
trainer:
  n_epoch: 6
  batch_size: 100
  optimizer_params: {lr: 1e-2}
  device: cpu
"""


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    """Users meet two random items at every moment; labels tell of items before, at the same time and after."""
    folder = tmp_path_factory.mktemp("history")
    random = np.random.default_rng(1)
    users, moments = 150, 20
    items = random.integers(0, 10, (users, moments, 2))
    rare = items < 3
    before, after = np.roll(rare, 1, axis=1).any(2), np.roll(rare, -1, axis=1).any(2)
    columns = {
        "user": np.broadcast_to(np.arange(users)[:, None, None], items.shape),
        "item": items,
        "time": np.broadcast_to(np.arange(moments)[None, :, None], items.shape),
        "past": np.broadcast_to(before[:, :, None], items.shape).astype(int),
        "same_time": rare[:, :, ::-1].astype(int),  # of the other row
        "future": np.broadcast_to(after[:, :, None], items.shape).astype(int),
    }
    rows = random.permutation(items.size)  # the order of the files says nothing
    pq.write_table(pa.table({name: values.ravel()[rows] for name, values in columns.items()}), folder / "log.parquet")
    for label in ("past", "same_time", "future"):
        (folder / f"{label}.yaml").write_text(SPEC % label)
    return folder


def trained(here, folder, label):
    ended = here("train-ctr", f"{label}.yaml", "-o", label, "--overwrite", cwd=folder)
    assert ended.code == 0, ended.err
    return json.loads((folder / label / "run.json").read_text())


@pytest.mark.parametrize("label", ["same_time", "future"])
def test_what_is_not_before_a_row_teaches_nothing(label, log, here):
    run = trained(here, log, label)
    assert 0.44 < run["test"]["auc"] < 0.56
    assert 0.44 < run["best"]["val_auc"] < 0.6


def test_what_is_before_a_row_is_learnt_and_found_again(log, here, tmp_path):
    run = trained(here, log, "past")
    assert run["test"]["auc"] > 0.97
    test = pq.read_table(log / "past" / "predictions" / "test.parquet").drop_columns(["score"])
    assert (log / "past" / "history" / "events.parquet").is_file()
    pq.write_table(test, tmp_path / "test.parquet")

    ended = here("evaluate", log / "past", "-d", "test.parquet", "--json", cwd=tmp_path)
    assert ended.code == 0, ended.err
    assert json.loads(ended.out)["metrics"]["auc"] == pytest.approx(run["test"]["auc"], abs=1e-9)

    ended = here("predict", log / "past", "-d", "test.parquet", "-o", "scores.parquet", cwd=tmp_path)
    assert ended.code == 0, ended.err
    then = pq.read_table(log / "past" / "predictions" / "test.parquet")["score"]
    last = test["time"].to_numpy() == 19  # two events are kept: those before the last moment are not
    found = pq.read_table(tmp_path / "scores.parquet")["score"].to_numpy()
    assert not np.allclose(found[~last], then.to_numpy()[~last])
    everything = here(
        "predict", log / "past", "-d", "test.parquet", "--history", log / "log.parquet", "-o", "all.parquet",
        cwd=tmp_path,
    )  # fmt: skip
    assert everything.code == 0, everything.err
    np.testing.assert_allclose(pq.read_table(tmp_path / "all.parquet")["score"], then, rtol=1e-6)


def test_newer_events_change_the_scores_of_now(log, here, tmp_path):
    trained(here, log, "past")
    model = rechub_cli.load(log / "past")
    now = pa.table({"user": [0, 1, 2], "item": [5, 5, 5]})  # no time: after all events
    newer = pa.table({"user": [0, 0, 1, 1], "item": [0, 1, 8, 9], "time": [30, 31, 30, 31]})
    scores = model.with_history(newer).predict(now)
    assert scores[0] > 0.9
    assert scores[1] < 0.1
    assert scores[2] == model.predict(now)[2]
    pq.write_table(newer, tmp_path / "newer.parquet")
    pq.write_table(now, tmp_path / "now.parquet")
    ended = here(
        "predict", log / "past", "-d", "now.parquet", "--history", "newer.parquet", "-o", "s.csv", cwd=tmp_path
    )
    assert ended.code == 0, ended.err
    written = [float(line) for line in (tmp_path / "s.csv").read_text().splitlines()[1:]]
    np.testing.assert_allclose(written, scores, rtol=1e-5)


def test_events_that_do_not_fit_are_told(log, here, tmp_path):
    trained(here, log, "past")
    pq.write_table(pa.table({"user": [0], "item": [1]}), tmp_path / "no_time.parquet")
    for command in (["evaluate"], ["predict", "-o", "s.csv", "--history", "no_time.parquet"]):
        name, *rest = command
        ended = here(name, log / "past", "-d", "no_time.parquet", *rest, cwd=tmp_path)
        assert ended.code == 65
        assert "lacks the column" in ended.err
        assert "time" in ended.err


def test_users_of_another_type_than_in_train_are_told_by_file_and_column(here, tmp_path):
    log = pa.table({"user": [1, 1, 2, 2, 3, 3], "item": [1, 2, 1, 3, 2, 3], "ts": [1, 2, 1, 2, 1, 2]})
    pq.write_table(log, tmp_path / "log.parquet")
    later = pa.table({"user": ["u1", "u2"], "item": [3, 2], "ts": [3, 3]})
    pq.write_table(later, tmp_path / "later.parquet")
    (tmp_path / "spec.yaml").write_text(
        "data: {train: log.parquet, valid: later.parquet}\n"
        "features: {item: {type: sparse}, past: {type: history, of: item}}\n"
        "user: user\nitem: item\ntime: ts\nmodel: {name: youtube_dnn}\n"
    )
    ended = here("train-match", "spec.yaml", "-o", "run", cwd=tmp_path)
    assert ended.code == 65
    assert "later.parquet: user is string, and int64 in train" in ended.err
    assert not (tmp_path / "run").exists()
