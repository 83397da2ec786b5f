"""A model that goes on day by day: ``--init-from``, growing vocabularies, days in paths."""

import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from real_command import SPEC, clicks
from safetensors.torch import load_file

from rechub_cli.data.encoder import Encoder

DAYS = ("2026-03-01", "2026-03-02", "2026-03-03")


def renamed(table, n):
    """The same clicks with every third row of a new user."""
    users = [f"n{i % n}" if i % 3 == 0 else user for i, user in enumerate(table["user_id"].to_pylist())]
    return table.set_column(0, "user_id", pa.array(users))


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    """spec.yaml and three days of a log; new users come on the second and the third."""
    folder = tmp_path_factory.mktemp("log")
    for number, day in enumerate(DAYS):
        table = clicks(300, number)
        (folder / "log" / f"day={day}").mkdir(parents=True)
        table = renamed(table, 5 * number) if number else table
        pq.write_table(table, folder / "log" / f"day={day}" / "part.parquet")
    pq.write_table(clicks(200, 8), folder / "valid.parquet")
    head = 'data: {train: "log/day={date}", valid: valid.parquet}\n'
    (folder / "spec.yaml").write_text(head + SPEC[SPEC.index("embed_dim") :].replace("n_epoch: 2", "n_epoch: 1"))
    return folder


@pytest.fixture(scope="module")
def first(log):
    """A run on the first day."""
    from real_command import rechub

    ended = rechub("train-ctr", "spec.yaml", "-o", "runs/{date}", "--date", DAYS[0], "-q", cwd=log)
    assert (ended.code, ended.err, ended.out) == (0, "", f"runs/{DAYS[0]}\n")
    return log / "runs" / DAYS[0]


def info(run):
    return json.loads((run / "run.json").read_text())


def weights(run):
    return load_file(run / "checkpoints" / (run / "best").read_text().strip() / "model.safetensors")


def values(run, feature):
    vocabulary = Encoder.load(run / "encoder").vocabularies[feature]
    return vocabulary.values.slice(0, vocabulary.size).to_pylist()


def test_day_by_day_ids_stay_where_they_are_and_new_ones_come_behind(log, first, here):
    for day, before in ((DAYS[1], DAYS[0]), (DAYS[2], DAYS[1])):
        arguments = ("--init-from", "runs/{date-1}", "-o", "runs/{date}", "--date", day)
        ended = here("train-ctr", "spec.yaml", *arguments, cwd=log)
        assert ended.code == 0, ended.err
        old, new = values(log / "runs" / before, "user_id"), values(log / "runs" / day, "user_id")
        assert new[: len(old)] == old
        assert {user[0] for user in new[len(old) :]} == {"n"}
        assert f"kept={len(old) + 30} new={len(new) - len(old)} left=0" in ended.err
    run = info(log / "runs" / DAYS[2])
    assert run["init_from"]["run"] == DAYS[1]
    assert run["date"] == DAYS[2]
    assert run["best"]["val_auc"] > 0.85
    assert weights(log / "runs" / DAYS[2])["embedding.tables.4.rows.user_id"].shape == (20 + 5 + 5 + 3, 4)
    ended = here("evaluate", f"runs/{DAYS[2]}", "-d", "valid.parquet", "--require", "auc > 0.85", cwd=log)
    assert ended.code == 0, ended.err


def test_two_epochs_are_one_and_one_more_on_top_of_it(log, tmp_path, here):
    """All rows in one batch, so that their order makes no difference: what a day learns is what going on would."""
    for case in ("same", "lazy_adam", "rowwise_adagrad"):
        one_batch = ("-s", f"trainer.embedding_optimizer.name={case}", "--batch-size", "1000", "--date", DAYS[0], "-q",
                     "--set", "data.valid=null")  # fmt: skip
        here("train-ctr", log / "spec.yaml", *one_batch, "--epochs", "3", "-o", "straight", "--overwrite", cwd=tmp_path)
        here("train-ctr", log / "spec.yaml", *one_batch, "--epochs", "2", "-o", "half", "--overwrite", cwd=tmp_path)
        arguments = ("--init-from", "half", "-o", "whole", "--overwrite", "--epochs", "1")
        ended = here("train-ctr", log / "spec.yaml", *one_batch, *arguments, cwd=tmp_path)
        assert (ended.code, ended.err) == (0, "")
        wanted, found, before = (weights(tmp_path / name) for name in ("straight", "whole", "half"))
        for name, value in wanted.items():
            np.testing.assert_allclose(found[name], value, rtol=2e-3, atol=2e-6, err_msg=name)
        rows = "embedding.tables.4.rows.user_id"
        assert abs(before[rows] - wanted[rows]).max() > 1e-3


FAULTS = {
    "embed_dim=8": "features.user_id.embed_dim: is 8, and 4 in",
    "features.price.transform=log1p": "is log1p, and standardize in",
    "features.item_id.oov_buckets=3": "is 3, and 1 in",
    "model.params.hidden_dims=16": "deep.hidden.0.weight is 16x33 here and 8x13 there",
    "labels={bought: {column: click}}": "must be those of",
    "features.extra={type: sparse, column: item_id}": "features.extra={type: sparse, column: item_id}: is not in",
}


def test_all_that_cannot_go_on_is_told_at_once_and_nothing_is_written(log, first, tmp_path, here):
    overrides = [word for fault in FAULTS for word in ("--set", fault)]
    ended = here("train-ctr", log / "spec.yaml", *overrides, "--init-from", first, "--date", DAYS[1], cwd=tmp_path)
    assert ended.code == 78
    for text in FAULTS.values():
        assert text in ended.err
    assert "--allow-fresh" in ended.err
    assert list(tmp_path.iterdir()) == []
    ended = here("train-ctr", log / "spec.yaml", "--init-from", first, "--date", DAYS[1], "-s", "model.name=dcn",
                 "-s", "features.price=null", cwd=tmp_path)  # fmt: skip
    assert ended.code == 78
    assert "model.name=dcn: is dcn, and deepfm in" in ended.err
    assert "'price', which" in ended.err


def test_what_may_start_fresh_does_and_is_named(log, first, tmp_path, here):
    """A new feature gets rows of its own; of the layers those start fresh that it changes; all else goes on."""
    arguments = ("-s", "features.again={type: sparse, column: item_id}", "--init-from", first, "--date", DAYS[1])
    refused = here("train-ctr", log / "spec.yaml", *arguments, "-o", "run", cwd=tmp_path)
    assert refused.code == 78
    assert "is not in" in refused.err
    assert "deep.hidden.0.weight is 8x17 here and 8x13 there" in refused.err
    ended = here("train-ctr", log / "spec.yaml", *arguments, "--allow-fresh", "-o", "run", cwd=tmp_path)
    assert ended.code == 0, ended.err
    fresh = next(line for line in ended.err.splitlines() if "starts fresh" in line)
    assert "deep.hidden.0.weight" in fresh
    assert "rows.again" in fresh
    assert "rows.user_id" not in fresh
    assert [feature["name"] for feature in json.loads((tmp_path / "run/encoder/encoder.json").read_text())["schema"][
        "features"]] == ["user_id", "item_id", "price", "hist", "again"]  # fmt: skip


def test_where_one_feature_takes_the_place_of_another_only_embeddings_go_on(log, first, tmp_path, here):
    """The layers would have the same shapes, and mean something else."""
    swap = ("-s", "features.price=null", "-s", "features.cost={type: dense, column: price, statistics: continue}")
    arguments = ("--init-from", first, "--date", DAYS[1], *swap)
    refused = here("train-ctr", log / "spec.yaml", *arguments, cwd=tmp_path)
    assert refused.code == 78
    assert "'price', which" in refused.err
    assert "features.cost" in refused.err
    ended = here("train-ctr", log / "spec.yaml", *arguments, "--allow-fresh", "-o", "run", cwd=tmp_path)
    assert ended.code == 0, ended.err
    fresh = next(line for line in ended.err.splitlines() if "starts fresh" in line)
    assert "deep.hidden.0.weight" in fresh
    assert "deep.output.weight" in fresh
    assert "rows" not in fresh


def test_a_dry_run_says_beforehand_whether_it_will_do(log, first, tmp_path, here):
    ended = here("train-ctr", log / "spec.yaml", "--dry-run", "--init-from", first, "--date", DAYS[1], cwd=tmp_path)
    assert ended.code == 0, ended.err
    assert "starts from" in ended.err or "init.ready" in ended.err
    assert list(tmp_path.iterdir()) == []


def test_runs_that_cannot_be_started_from(log, first, tmp_path, here):
    spec = log / "spec.yaml"
    ended = here("train-ctr", spec, "--init-from", "nowhere", "--date", DAYS[1], cwd=tmp_path)
    assert (ended.code, "nowhere is not a run directory" in ended.err) == (66, True)
    ended = here("train-ctr", spec, "--init-from", first, "-o", first, "--overwrite", "--date", DAYS[1], cwd=tmp_path)
    assert (ended.code, "both name" in ended.err) == (2, True)
    ended = here("train-ctr", spec, "--allow-fresh", "--date", DAYS[1], cwd=tmp_path)
    assert (ended.code, "--init-from, which is not given" in ended.err) == (2, True)
    shutil.copytree(first, tmp_path / "hurt")
    state = next((tmp_path / "hurt" / "checkpoints").glob("*/state.json"))
    state.write_text("{}")
    ended = here("train-ctr", spec, "--init-from", "hurt", "--date", DAYS[1], cwd=tmp_path)
    assert (ended.code, "Nothing was written" in ended.err) == (65, True)
    (tmp_path / "hurt" / "best").unlink()
    ended = here("train-ctr", spec, "--init-from", "hurt", "--date", DAYS[1], cwd=tmp_path)
    assert (ended.code, "has no finished checkpoint" in ended.err) == (66, True)
    assert [path.name for path in tmp_path.iterdir()] == ["hurt"]
    assert "Traceback" not in ended.err


def test_a_run_of_before_this_goes_on_with_fresh_optimizers(log, first, tmp_path, here):
    """Its state has no names of parameters; its weights are as good as any."""
    shutil.copytree(first, tmp_path / "old")
    folder = next((tmp_path / "old" / "checkpoints").iterdir())
    state = json.loads((folder / "state.json").read_text())
    items = state["optimization"]["items"]
    state["optimization"]["items"] = [item for item in items if item[0] not in ("names", "kinds", "tables")]
    (folder / "state.json").write_text(json.dumps(state))
    manifest = json.loads((folder / "manifest.json").read_text())
    import hashlib

    content = (folder / "state.json").read_bytes()
    manifest["files"]["state.json"] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    ended = here("train-ctr", log / "spec.yaml", "--init-from", "old", "-o", "new", "--date", DAYS[1], cwd=tmp_path)
    assert ended.code == 0, ended.err
    assert "its optimizers start fresh" in ended.err
    encoder = tmp_path / "old/encoder/encoder.json"
    state = json.loads(encoder.read_text())
    del state["moments"]
    encoder.write_text(json.dumps(state))
    arguments = ("--init-from", "old", "--date", DAYS[1], "-s", "features.price.statistics=continue")
    ended = here("train-ctr", log / "spec.yaml", *arguments, cwd=tmp_path)
    assert (ended.code, "cannot continue: old kept no sums of it" in ended.err) == (78, True)


def test_days_in_the_paths_of_a_spec_and_windows(log, tmp_path, here):
    folder = tmp_path / "spec"
    folder.mkdir()
    text = (log / "spec.yaml").read_text().replace("log/day={date}", f"{log}/log/day={{date-2..date-1}}/*.parquet")
    (folder / "spec.yaml").write_text(text.replace("valid.parquet", f"{log}/valid.parquet"))
    ended = here("validate", "spec.yaml", "--date", "2026-03-03", "--json", "-q", cwd=folder)
    assert json.loads(ended.out)["parts"]["train"]["rows"] == 600
    ended = here("train-ctr", "spec.yaml", "--date", "2026-03-03", "-o", "run", "-q", cwd=folder)
    assert ended.code == 0, ended.err
    assert info(folder / "run")["data"]["train"]["rows"] == 600
    assert "{2026-03-01,2026-03-02}" in (folder / "run/spec.resolved.yaml").read_text()
    ended = here("train-ctr", "run/spec.resolved.yaml", "--dry-run", "-q", cwd=folder)  # re-runnable, whatever the day
    assert ended.code == 0, ended.err
    ended = here("train-ctr", "spec.yaml", "--date", "2026-03-05", "-o", "none", cwd=folder)
    assert ended.code == 66
    assert "day=2026-03-04/*.parquet" in ended.err
    assert "day=2026-03-03" not in ended.err
    ended = here("train-ctr", "spec.yaml", "--date", "2026-03-03", "-o", "{date-1..date}", cwd=folder)
    assert (ended.code, "several days" in ended.err) == (2, True)


def test_an_id_that_is_met_no_more_leaves_the_model(log, first, tmp_path, here):
    spec = (log / "spec.yaml").read_text().replace("user_id: {type: sparse}", "user_id: {type: sparse, expire: 1}")
    (tmp_path / "spec.yaml").write_text(
        spec.replace("log/", f"{log}/log/").replace("valid.parquet", f"{log}/valid.parquet")
    )
    here("train-ctr", "spec.yaml", "-o", "one", "--date", DAYS[1], "-q", cwd=tmp_path)
    ended = here("train-ctr", "spec.yaml", "--init-from", "one", "-o", "two", "--date", DAYS[2], "-q", cwd=tmp_path)
    assert (ended.code, ended.err) == (0, "")
    assert values(tmp_path / "two", "user_id")[:20] == values(tmp_path / "one", "user_id")[:20]
    later = tmp_path / "later.parquet"
    pq.write_table(clicks(300, 5).filter(pa.array(np.arange(300) < 3)), later)
    arguments = ("--init-from", "two", "--train", later, "-o", "three", "--date", "2026-03-09")
    ended = here("train-ctr", "spec.yaml", *arguments, cwd=tmp_path)
    assert ended.code == 0, ended.err
    there = set(pq.read_table(later)["user_id"].to_pylist())
    assert set(values(tmp_path / "three", "user_id")) == there
    assert f"left={30 - len(there)}" in ended.err
    before, after = values(tmp_path / "two", "user_id"), values(tmp_path / "three", "user_id")
    assert after == [user for user in before if user in there]


MATCH = """\
data: {train: "log-{date}.parquet"}
embed_dim: 8
features:
  item: {type: sparse}
  past: {type: history, of: item, max_len: 4, pooling: none}
user: user
item: item
time: time
model: {name: sasrec}
trainer: {n_epoch: 2, batch_size: 32, device: cpu, baselines: [], metrics: [recall@5]}
"""


def test_retrieval_goes_on_with_what_users_had_and_did(tmp_path, here):
    """On the second day each user comes once: without the first day there would be no history, and nothing to learn."""
    users = np.repeat(np.arange(40), 5)
    log = {"user": users, "item": np.arange(200) % 20, "time": np.arange(200)}
    pq.write_table(pa.table(log), tmp_path / "log-2026-03-01.parquet")
    pq.write_table(
        pa.table({"user": np.arange(40), "item": np.arange(40) % 25, "time": np.arange(1000, 1040)}),
        tmp_path / "log-2026-03-02.parquet",
    )
    (tmp_path / "spec.yaml").write_text(MATCH)
    ended = here("train-match", "spec.yaml", "-o", "{date}", "--date", DAYS[0], "-q", cwd=tmp_path)
    assert (ended.code, ended.err) == (0, "")
    nothing = here("train-match", "spec.yaml", "-o", "alone", "--date", DAYS[1], cwd=tmp_path)
    assert (nothing.code, "there is nothing to predict" in nothing.err) == (65, True)
    arguments = ("--init-from", "{date-1}", "-o", "{date}", "--date", DAYS[1])
    ended = here("train-match", "spec.yaml", *arguments, cwd=tmp_path)
    assert ended.code == 0, ended.err
    assert "kept=20 new=5 left=0" in ended.err
    events = pq.read_table(tmp_path / DAYS[1] / "history/events.parquet")
    of_one = events.filter(pa.array(events["user"].to_numpy() == 0))["time"].to_pylist()
    assert of_one[-4:] == [2, 3, 4, 1000]
    seen = {row["user"]: row["items"] for row in
            pq.read_table(tmp_path / DAYS[1] / "interactions.parquet").to_pylist()}  # fmt: skip
    assert set(seen[0]) == {0, 1, 2, 3, 4}
    assert set(seen[24]) == {0, 1, 2, 3, 4, 24}
    arguments = ("-s", "model.name=popular", "-o", "counts", "--date", DAYS[1])
    assert here("train-match", "spec.yaml", *arguments, cwd=tmp_path).code == 0
    arguments = ("-s", "model.name=popular", "--init-from", "counts", "--date", DAYS[1])
    ended = here("train-match", "spec.yaml", *arguments, cwd=tmp_path)
    assert (ended.code, "popular counts, and has no weights to start from" in ended.err) == (78, True)
    ended = here(
        "recommend", DAYS[1], "--users", "log-2026-03-02.parquet", "-k", "3", "-o", "top.csv", "-q", cwd=tmp_path
    )
    assert (ended.code, ended.err) == (0, "")


def test_several_labels_go_on_with_the_weights_of_their_losses(log, tmp_path, here):
    table = pq.read_table(log / "log" / f"day={DAYS[0]}" / "part.parquet")
    pq.write_table(table.append_column("buy", table["click"]), tmp_path / "train.parquet")
    text = (
        (log / "spec.yaml").read_text().replace("log/day={date}", "train.parquet").replace(", valid: valid.parquet", "")
    )
    text = text.replace("  click: {type: classification}", "  click: {}\n  buy: {}").replace("group: user_id\n", "")
    text = text.replace("name: deepfm", "name: shared_bottom").replace("{hidden_dims: [8], dropout: 0.0}", "{}")
    text = text.replace("metrics: [auc, gauc, logloss]", "adaptive_params: {method: uwl}")
    (tmp_path / "spec.yaml").write_text(text)
    one = here("train-mtl", "spec.yaml", "-o", "one", "-q", cwd=tmp_path)
    assert (one.code, one.err) == (0, "")
    slow = ("--set", "trainer.optimizer_params.lr=1e-7")  # so that the weights stay where they start
    two = here("train-mtl", "spec.yaml", "-o", "two", "--init-from", "one", *slow, "-q", cwd=tmp_path)
    fresh = here("train-mtl", "spec.yaml", "-o", "fresh", *slow, "-q", cwd=tmp_path)
    assert (two.code, two.err, fresh.code) == (0, "", 0)

    def told(run):
        return {name: value for name, value in info(tmp_path / run)["best"].items() if name.startswith("weight_")}

    assert told("two") == pytest.approx(told("one"), abs=1e-4)
    assert told("fresh") != pytest.approx(told("one"), abs=0.05)


def test_histories_go_on_from_the_events_of_the_days_before(log, tmp_path, here):
    """Who took item 1 yesterday clicks today: nothing in today's rows tells, so a run without yesterday cannot know."""
    random = np.random.default_rng(0)
    users = np.arange(400)
    took = random.integers(1, 3, 400)
    past = {"user": users, "item": took, "time": users, "click": random.integers(0, 2, 400)}
    pq.write_table(pa.table(past), tmp_path / "log-2026-03-01.parquet")
    for day in (2, 3):
        today = {
            "user": users,
            "item": np.zeros(400, np.int64),
            "time": 1000 * day + users,
            "click": (took == 1).astype(int),
        }
        pq.write_table(pa.table(today), tmp_path / f"log-2026-03-0{day}.parquet")
    spec = """\
data: {train: "log-{date}.parquet", test: "log-2026-03-03.parquet"}
embed_dim: 4
features:
  item: {type: sparse}
  past: {type: history, of: item, max_len: 4, pooling: sum}
labels: {click: {}}
user: user
time: time
model: {name: fm}
trainer: {n_epoch: 15, batch_size: 100, device: cpu, optimizer_params: {lr: 5e-2}, metrics: [auc]}
"""
    (tmp_path / "spec.yaml").write_text(spec)
    here("train-ctr", "spec.yaml", "-o", "{date}", "--date", DAYS[0], "--epochs", "1", "-q", cwd=tmp_path)
    here("train-ctr", "spec.yaml", "-o", "alone", "--date", DAYS[1], "-q", cwd=tmp_path)
    ended = here(
        "train-ctr", "spec.yaml", "-o", "{date}", "--date", DAYS[1], "--init-from", "{date-1}", "-q", cwd=tmp_path
    )
    assert (ended.code, ended.err) == (0, "")
    assert info(tmp_path / DAYS[1])["test"]["auc"] > 0.99
    assert info(tmp_path / "alone")["test"]["auc"] < 0.6
