"""``embed`` and ``recommend`` as commands: streams, documents, exit codes."""

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from real_command import rechub

from rechub_cli.run.events import Events
from rechub_cli.run.signals import Stop
from rechub_cli.workflows.request import TrainRequest
from rechub_cli.workflows.train_match import train_match

SPEC = """\
data: {train: log.parquet}
embed_dim: 4
features:
  past: {type: history, of: item_id, max_len: 5}
  item_id: {type: sparse}
user: user_id
item: item_id
time: time
model: {name: dssm, params: {user_hidden_dims: [4], item_hidden_dims: [4]}}
trainer: {n_epoch: 1, batch_size: 50, device: cpu}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """With a run of a small model, and users."""
    folder = tmp_path_factory.mktemp("match")
    rng = np.random.default_rng(0)
    log = {"user_id": rng.integers(0, 9, 200), "item_id": rng.permutation(200) % 40, "time": np.arange(200)}
    pq.write_table(pa.table(log), folder / "log.parquet")
    pq.write_table(pa.table({"user_id": [3, 1]}), folder / "users.parquet")
    (folder / "spec.yaml").write_text(SPEC)
    train_match(TrainRequest(spec=str(folder / "spec.yaml"), output=str(folder / "run")), Events(), Stop())
    return folder


def test_embed_prints_the_path_or_a_document(here, folder, tmp_path):
    ended = here("embed", folder / "run", "--mode", "item", "-o", "items.parquet", "-q", cwd=tmp_path)
    assert (ended.code, ended.out, ended.err) == (0, "items.parquet\n", "")
    ended = here("embed", folder / "run", "--mode", "item", "-o", "v.faiss", "--json", cwd=tmp_path)
    document = json.loads(ended.out)
    assert (document["rows"], document["dim"], document["manifest"]) == (40, 4, "v.faiss.manifest.json")
    assert document["index"]["recall@40"] == 1


def test_existing_output_is_kept_unless_told_otherwise(here, folder, tmp_path):
    command = ["embed", folder / "run", "--mode", "item", "-o", "items.npy"]
    assert here(*command, cwd=tmp_path).code == 0
    assert here(*command, cwd=tmp_path).code == 73
    assert here(*command, "--overwrite", cwd=tmp_path).code == 0


def test_users_of_a_pipe_get_rows_in_a_pipe(folder):
    ended = rechub("recommend", "run", "--users", "-", "--input-format", "csv", "-k", "2", "-o", "-", "-q",
                   "--no-header", "--exclude-seen", cwd=folder, input=b"user_id\n3\n1\n")  # fmt: skip
    assert (ended.code, ended.err) == (0, "")
    names = ["user_id", "rank", "item_id", "score"]
    found = pacsv.read_csv(io.BytesIO(ended.out.encode()), pacsv.ReadOptions(column_names=names))
    assert found.column("user_id").to_pylist() == [3, 3, 1, 1]
    assert found.column("rank").to_pylist() == [1, 2, 1, 2]


def test_recommend_prints_the_path_or_a_document(here, folder, tmp_path):
    command = ["recommend", folder / "run", "--users", folder / "users.parquet", "-k", "3"]
    ended = here(*command, "-o", "r.jsonl", cwd=tmp_path)
    assert (ended.code, ended.out) == (0, "r.jsonl\n")
    assert json.loads((tmp_path / "r.jsonl").read_text().splitlines()[0]).keys() == {
        "user_id",
        "rank",
        "item_id",
        "score",
    }
    ended = here(*command, "-o", "s.parquet", "--json", cwd=tmp_path)
    found = json.loads(ended.out)
    assert found.pop("drift")["rows"] == 2
    assert found == {"v": 1, "output": "s.parquet", "users": 2, "rows": 6}


def test_nothing_piped_in_is_told_not_waited_for(here, folder, trained):
    assert "--users is required" in here("recommend", "run", "-o", "-", cwd=folder).err
    assert here("embed", "run", "--mode", "user", "-o", "x.csv", cwd=folder).code == 2
    for command in (["embed", trained[0], "--mode", "item"], ["recommend", trained[0], "--users", "users.parquet"]):
        ended = here(*command, "-o", "-", cwd=folder)
        assert (ended.code, ended.out) == (2, "")
        assert "has no catalogue of items; use rechub predict" in ended.err


@pytest.mark.parametrize("command", [["embed", "--mode", "user", "-d"], ["recommend", "--users"]])
def test_an_interrupted_command_leaves_no_output(here, folder, tmp_path, monkeypatch, command):
    name, *flags = command
    monkeypatch.setattr("rechub_cli.run.signals.Stop.requested", lambda self: 15)
    ended = here(name, folder / "run", *flags, folder / "users.parquet", "-o", "out.parquet", cwd=tmp_path)
    assert ended.code == 143
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("line", "flags", "problem"),
    [
        ("item: item_id\n", (), "train-match needs 'item:'"),
        ("user: user_id\n", ("--set", "model={name: popular}"), "popular counts who had what: it needs 'user:'"),
        ("user: user_id\n", ("--set", "trainer.exclude_seen=true"), "exclude_seen needs 'user:'"),
    ],
)
def test_a_spec_without_items_or_users_is_told_so_and_nothing_else(here, folder, tmp_path, line, flags, problem):
    (folder / "short.yaml").write_text(SPEC.replace(line, ""))
    ended = here("train-match", folder / "short.yaml", *flags, "-o", tmp_path / "run", cwd=tmp_path)
    assert (ended.code, (tmp_path / "run").exists()) == (78, False)
    assert problem in ended.err
    assert "1 problem in the spec" in ended.err
