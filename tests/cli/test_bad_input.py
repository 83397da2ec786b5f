"""Wrong specs and damaged files: each ends in its documented exit code and one clear message, nothing is written."""

import gzip
import json
import shutil
import struct
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from real_command import SPEC, clicks, rechub, write_data

USAGE, DATA, NO_INPUT, UNAVAILABLE, CANNOT_CREATE, SPEC_FAULT = 2, 65, 66, 69, 73, 78


def replaced(old: str, new: str) -> str:
    assert old in SPEC
    return SPEC.replace(old, new)


# name -> (the spec, exit code, what the message must say)
WRONG_SPECS = {
    "empty": ("", NO_INPUT, "spec.yaml"),
    "not a mapping": ("- a\n- b\n", SPEC_FAULT, "spec.yaml:1"),
    "yaml that does not parse": ("data: [train.parquet\nfeatures: {", SPEC_FAULT, "spec.yaml:"),
    "a tab as indentation": (replaced("  n_epoch", "\tn_epoch"), SPEC_FAULT, "spec.yaml:"),
    "not text": ("data: \x00\x01", SPEC_FAULT, "spec.yaml"),
    "unknown section": (SPEC + "trianer: {}\n", SPEC_FAULT, "did you mean 'trainer'"),
    "unknown key": (replaced("n_epoch", "n_epochs"), SPEC_FAULT, "did you mean 'n_epoch'|trainer.n_epoch"),
    "duplicate key": (SPEC + "embed_dim: 8\n", SPEC_FAULT, "embed_dim"),
    "a word for a number": (replaced("n_epoch: 2", "n_epoch: two"), SPEC_FAULT, "n_epoch"),
    "a negative size": (replaced("batch_size: 50", "batch_size: -1"), SPEC_FAULT, "batch_size"),
    "unknown feature type": (replaced("price: {type: dense}", "price: {type: numeric}"), SPEC_FAULT, "price"),
    "feature without a type": (replaced("price: {type: dense}", "price: {}"), SPEC_FAULT, "price"),
    "unknown column": (replaced("  item_id: {", "  item_idd: {"), SPEC_FAULT, "did you mean 'item_id'"),
    "text as a number": (replaced("price: {type: dense}", "user_id: {type: dense}"), SPEC_FAULT, "user_id"),
    "unknown label column": (replaced("  click: {", "  clicked: {"), SPEC_FAULT, "did you mean 'click'"),
    "no label": (replaced("labels:\n  click: {type: classification}\n", ""), SPEC_FAULT, "exactly one label"),
    "no features": (SPEC[: SPEC.index("features:")] + SPEC[SPEC.index("labels:") :], SPEC_FAULT, "features"),
    "unknown group": (replaced("group: user_id", "group: user"), SPEC_FAULT, "user"),
    "shares with nothing": (replaced("shares: item_id", "shares: movie"), SPEC_FAULT, "movie"),
    "glob without a match": (replaced("  price: {", "  I*: {"), SPEC_FAULT, "I\\*"),
    "unknown model": (replaced("name: deepfm", "name: deepmf"), SPEC_FAULT, "did you mean 'deepfm'"),
    "unknown model option": (replaced("hidden_dims", "hiden_dims"), SPEC_FAULT, "did you mean 'hidden_dims'"),
    "wrong model option": (replaced("dropout: 0.0", "dropout: much"), SPEC_FAULT, "dropout"),
    "a model file that is not there": (replaced("name: deepfm", "name: ./nix.py:Net"), SPEC_FAULT, "nix.py"),
    "a model package that is not there": (replaced("name: deepfm", "name: nix.nix:Net"), UNAVAILABLE, "nix"),
    "unknown metric": (replaced("metrics: [auc,", "metrics: [aucc,"), SPEC_FAULT, "did you mean 'auc'"),
    "unknown monitor": (SPEC + "  monitor: ndgc@10\n", SPEC_FAULT, "ndcg"),
    "unknown optimizer": (SPEC + "  optimizer: adamm\n", SPEC_FAULT, "adam"),
    "unknown scheduler": (SPEC + "  scheduler: StepRL\n", SPEC_FAULT, "StepLR"),
    "unknown loss": (SPEC + "  loss: bcee\n", SPEC_FAULT, "bce"),
    "unknown device": (replaced("device: cpu", "device: tpu"), SPEC_FAULT, "tpu"),
    "a split that leaves nothing": (
        replaced("  valid: valid.parquet\n  test: test.parquet\n", "  split: {valid: 0.5, test: 0.5}\n"),
        SPEC_FAULT,
        "no rows|nothing",
    ),
    "a time split without a time": (
        replaced("  valid: valid.parquet\n", "  split: {method: time, valid: 0.1}\n"),
        SPEC_FAULT,
        "time",
    ),
    "a filter that does not parse": (replaced("  valid:", '  filter: "price >"\n  valid:'), SPEC_FAULT, "price >"),
    "a filter on no column": (replaced("  valid:", '  filter: "prize > 1"\n  valid:'), SPEC_FAULT, "prize"),
    "no training data": (replaced("  train: train.parquet\n", ""), SPEC_FAULT, "data.train"),
    "a file that is not there": (replaced("train.parquet", "trian.parquet"), NO_INPUT, "trian.parquet"),
    "a glob of nothing": (replaced("train.parquet", "day=*/x.parquet"), NO_INPUT, "day="),
    "a join on no column": (
        replaced("  valid:", "  join: [{file: test.parquet, on: uid}]\n  valid:"),
        SPEC_FAULT,
        "uid",
    ),
    "a joined file that is not there": (
        replaced("  valid:", "  join: [{file: nix.csv, on: user_id}]\n  valid:"),
        NO_INPUT,
        "nix.csv",
    ),
    "the same key twice in a look-up table": (
        replaced("  valid:", "  join: [{file: users.csv, on: user_id}]\n  valid:").replace("price", "age"),
        DATA,
        "u01",
    ),
}


def good_bytes() -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(clicks(300, 0), sink)
    return sink.getvalue().to_pybytes()


def table_bytes(**columns: object) -> bytes:
    table = clicks(300, 0)
    for name, values in columns.items():
        place = table.column_names.index(name)
        table = table.set_column(place, name, values if isinstance(values, pa.Array) else pa.array(values))
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return sink.getvalue().to_pybytes()


def csv_text(change=lambda lines: lines) -> bytes:
    sink = pa.BufferOutputStream()
    pacsv.write_csv(clicks(300, 0), sink)
    return b"\n".join(change(sink.getvalue().to_pybytes().splitlines())) + b"\n"


def with_line(number: int, line: bytes):
    return lambda lines: [*lines[:number], line, *lines[number + 1 :]]


HEADER = b'"user_id","item_id","price","hist","click"'

# name -> (file, its content, exit code, what the message must say)
DAMAGED = {
    "empty parquet": ("t.parquet", b"", (DATA, NO_INPUT), "t.parquet"),
    "cut parquet": ("t.parquet", good_bytes()[:-100], DATA, "t.parquet"),
    "parquet with a broken page": (
        "t.parquet",
        good_bytes()[:4] + b"\xff" * 600 + good_bytes()[604:],
        DATA,
        "t.parquet",
    ),
    "parquet with a lying footer": (
        "t.parquet",
        good_bytes()[:-8] + struct.pack("<I", 2**31 - 1) + b"PAR1",
        DATA,
        "t.parquet",
    ),
    "text named parquet": ("t.parquet", csv_text(), DATA, "t.parquet"),
    "no rows": ("t.csv", HEADER + b"\n", (DATA, NO_INPUT), "t.csv|no rows"),
    "empty csv": ("t.csv", b"", (DATA, NO_INPUT), "t.csv"),
    "csv with a short row": ("t.csv", csv_text(with_line(7, b'"u01",3')), DATA, "t.csv, row 7"),
    "csv that is not utf-8": ("t.csv", csv_text(with_line(7, b'"\xff\xfe",3,1.0,"1",1')), DATA, "UTF-8"),
    "csv of a megabyte of line ends": ("t.csv", b"\n" * (1 << 20), NO_INPUT, "t.csv is empty"),
    "csv with a column twice": ("t.csv", csv_text(with_line(0, HEADER + b',"click"')), DATA, "t.csv"),
    "gzip cut short": ("t.csv.gz", gzip.compress(csv_text())[:-40], DATA, "t.csv.gz"),
    "text named gzip": ("t.csv.gz", csv_text(), DATA, "t.csv.gz"),
    "json lines with a broken line": ("t.jsonl", b'{"user_id": "a", "click": 1}\n{"user_id": \n', DATA, "t.jsonl"),
    "text named arrow": ("t.arrow", csv_text(), DATA, "t.arrow"),
    "a label of two": ("t.parquet", table_bytes(click=[0, 1, 2] * 100), DATA, "t.parquet, row 3.*positive"),
    "an infinite label": ("t.parquet", table_bytes(click=[0.0, 1.0, np.inf] * 100), DATA, "t.parquet, row 3"),
    "a label of nothing": ("t.parquet", table_bytes(click=pa.nulls(300, pa.int64())), DATA, "click|label"),
    "files that do not fit": ("t.parquet", table_bytes(user_id=list(range(300))), DATA, "user_id"),
}


def untouched(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def check(ended, codes, text: str) -> None:
    import re

    assert ended.code in (codes if isinstance(codes, tuple) else (codes,)), ended.err
    assert sum(line.startswith("error: ") for line in ended.err.splitlines()) == 1
    assert re.search(text, ended.err, re.DOTALL), ended.err
    assert "Traceback" not in ended.err
    assert "internal error" not in ended.err
    assert ended.out == ""


@pytest.fixture
def folder(tmp_path):
    write_data(tmp_path)
    pacsv.write_csv(pa.table({"user_id": ["u01", "u01"], "age": [3, 4]}), tmp_path / "users.csv")
    return tmp_path


@pytest.mark.parametrize("name", WRONG_SPECS)
def test_a_wrong_spec(name, folder, here):
    spec, code, text = WRONG_SPECS[name]
    (folder / "spec.yaml").write_text(spec)
    before = untouched(folder)
    check(here("train-ctr", "spec.yaml", cwd=folder), code, text)
    assert untouched(folder) == before
    assert not (folder / "runs").exists()


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_file(name, folder, here):
    file, content, code, text = DAMAGED[name]
    (folder / file).write_bytes(content)
    (folder / "spec.yaml").write_text(replaced("train: train.parquet", f"train: [{file}]"))
    if name == "files that do not fit":
        (folder / "spec.yaml").write_text(replaced("train: train.parquet", f"train: [train.parquet, {file}]"))
    before = untouched(folder)
    check(here("train-ctr", "spec.yaml", cwd=folder), code, text)
    assert untouched(folder) == before
    assert not (folder / "runs").exists()


BAD_FLAGS = {
    "no spec": (["train-ctr", "nix.yaml"], NO_INPUT, "nix.yaml"),
    "a folder as a spec": (["train-ctr", "."], (NO_INPUT, SPEC_FAULT), "spec|folder|directory"),
    "set without a value": (["train-ctr", "spec.yaml", "--set", "embed_dim"], (USAGE, SPEC_FAULT), "embed_dim"),
    "set of an unknown key": (["train-ctr", "spec.yaml", "--set", "trainer.n_epochs=3"], SPEC_FAULT, "trainer.n_epoch"),
    "set of a wrong type": (["train-ctr", "spec.yaml", "-s", "trainer.n_epoch=three"], SPEC_FAULT, "n_epoch"),
    "a GPU that is not there": (["train-ctr", "spec.yaml", "--device", "cuda:77"], UNAVAILABLE, "77"),
    "no epochs": (["train-ctr", "spec.yaml", "--epochs", "0"], SPEC_FAULT, "--epochs"),
    "no rows wanted": (["train-ctr", "spec.yaml", "--limit-rows", "0"], USAGE, "limit-rows"),
    "output in use": (["train-ctr", "spec.yaml", "-o", "."], CANNOT_CREATE, "not empty"),
    "output is a file": (["train-ctr", "spec.yaml", "-o", "test.csv"], CANNOT_CREATE, "test.csv"),
    "output below a file": (["train-ctr", "spec.yaml", "-o", "test.csv/run"], CANNOT_CREATE, "test.csv"),
    "no run": (["evaluate", "nix", "-d", "test.csv"], NO_INPUT, "nix"),
    "a run that is none": (["predict", ".", "-d", "test.csv", "-o", "s.csv"], NO_INPUT, "run.json"),
    "no data": (["evaluate", "."], USAGE, "--data is required"),
    "no output": (["predict", ".", "-d", "test.csv"], USAGE, "--output is required"),
}


@pytest.mark.parametrize("name", BAD_FLAGS)
def test_a_bad_argument(name, folder, here):
    arguments, code, text = BAD_FLAGS[name]
    before = untouched(folder)
    check(here(*arguments, cwd=folder), code, text)
    assert untouched(folder) == before


def spoil_json(run: Path) -> None:
    (run / "run.json").write_text("{")


def spoil_spec(run: Path) -> None:
    info = json.loads((run / "run.json").read_text())
    info["spec"]["features"]["user_id"]["type"] = "nix"
    (run / "run.json").write_text(json.dumps(info))


def spoil_code(run: Path) -> None:
    info = json.loads((run / "run.json").read_text())
    info["spec"]["model"]["name"] = "os:system"
    (run / "run.json").write_text(json.dumps(info))


def spoil_weights(run: Path) -> None:
    weights = next(run.glob("checkpoints/*/model.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-7])


def spoil_encoder(run: Path) -> None:
    (run / "encoder" / "encoder.json").write_text("[]")


def spoil_vocabulary(run: Path) -> None:
    next(run.glob("encoder/*.parquet")).write_bytes(b"PAR1PAR1")


def lose_encoder(run: Path) -> None:
    shutil.rmtree(run / "encoder")


def lose_checkpoint(run: Path) -> None:
    (run / "best").unlink()


@pytest.mark.parametrize(
    ("spoil", "code", "text"),
    [
        (spoil_json, DATA, "run.json"),
        (spoil_spec, DATA, "run.json"),
        (spoil_code, UNAVAILABLE, "--plugin"),
        (spoil_weights, DATA, "model.safetensors"),
        (spoil_encoder, DATA, "encoder.json"),
        (spoil_vocabulary, DATA, "damaged"),
        (lose_encoder, NO_INPUT, "encoder"),
        (lose_checkpoint, NO_INPUT, "checkpoint"),
    ],
)
def test_a_damaged_run(spoil, code, text, trained, data, tmp_path, here):
    shutil.copytree(trained[0], tmp_path / "run")
    spoil(tmp_path / "run")
    check(here("predict", "run", "-d", data / "test.csv", "-o", "s.csv", cwd=tmp_path), code, text)
    assert not (tmp_path / "s.csv").exists()


@pytest.mark.parametrize(
    ("file", "content", "code", "text"),
    [
        ("t.csv", csv_text(lambda lines: [line.rsplit(b",", 3)[0] for line in lines]), DATA, "hist"),
        ("t.csv", csv_text(with_line(5, b'"u01",3,cheap,"1",1')), DATA, "price"),
        ("t.parquet", table_bytes(item_id=pa.array([[1]] * 300)), DATA, "item_id"),
        ("t.parquet", b"PAR1", DATA, "t.parquet"),
    ],
)
def test_bad_rows_at_predict_time(file, content, code, text, trained, tmp_path, here):
    (tmp_path / file).write_bytes(content)
    check(here("predict", trained[0], "-d", file, "-o", "s.csv", cwd=tmp_path), code, text)
    assert [path.name for path in tmp_path.iterdir()] == [file]


def test_a_loss_that_cannot_be_called(folder, here):
    ended = here("train-ctr", "spec.yaml", "--dry-run", "--set", "trainer.loss=os:getcwd", cwd=folder)
    check(ended, 1, "os:getcwd failed in training: TypeError")


def without_importing(*modules, words):
    """A script that trains, and fails if that imports one of the modules."""
    return (
        f"import sys; sys.argv = ['rechub', 'train-ctr', *{words.split()}]\n"
        "from rechub_cli.cli.app import run\n"
        "code = run()\n"
        f"heavy = {set(modules)} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else code)"
    )


def test_all_faults_of_a_spec_are_told_in_one_go_without_torch_pandas_or_training(folder):
    (folder / "spec.yaml").write_text(replaced("  item_id: {", "  item_idd: {").replace("n_epoch", "n_epochs"))
    script = without_importing("torch", "pandas", "sklearn", words="spec.yaml --set model.nmae=lr")
    ended = rechub(cwd=folder, script=script)
    assert ended.code == SPEC_FAULT, ended.err
    for place in ("spec.yaml:8:3", "item_idd", "trainer.n_epochs", "--set model.nmae=lr"):
        assert place in ended.err
    assert "3 problems in the spec" in ended.err


def test_a_column_that_parquet_lacks_is_told_without_what_computes(folder):
    (folder / "t.parquet").write_bytes(table_bytes())
    (folder / "spec.yaml").write_text(replaced("  item_id: {", "  item_idd: {"))
    script = without_importing("torch", "pandas", "pyarrow.compute", words="spec.yaml --train t.parquet")
    ended = rechub(cwd=folder, script=script)
    assert ended.code == SPEC_FAULT, ended.err
    assert "column 'item_idd' is not in " in ended.err
