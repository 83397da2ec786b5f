"""``--set`` reaches every value, in the type that is due there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rechub_cli.errors import SpecError
from rechub_cli.spec.read import ReadSpec, read_spec

SPEC = """\
data: {train: train.parquet, join: [{file: users.csv, on: user_id}]}
features:
  user_id: {type: sparse}
  a.b: {type: dense}
  a.b.c: {type: dense}
  "d e": {type: sparse, embed_dim: 8}
  ts: {type: datetime}
labels: {click: {}}
model: {name: deepfm, params: {dropout: 0.5}}
trainer: {metrics: [auc], clip_norm: 5}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "spec.yaml").write_text(SPEC)
    return tmp_path


def read(*pieces: str, **options: Any) -> ReadSpec:
    return read_spec("spec.yaml", pieces, **options)


def value(dotted: str, *pieces: str) -> Any:
    found: Any = read(*pieces).spec
    for part in dotted.split("/"):
        found = (
            found[part]
            if isinstance(found, dict)
            else found[int(part)]
            if isinstance(found, list)
            else getattr(found, part)
        )
    return found


@pytest.mark.parametrize(
    ("piece", "place", "expected"),
    [
        ("trainer.n_epoch=3", "trainer/n_epoch", 3),
        ("trainer.clip_norm=1e-3", "trainer/clip_norm", 0.001),
        ("trainer.optimizer_params.lr=1e-3", "trainer/optimizer_params/lr", 0.001),
        ("trainer.embedding_optimizer.l2=1e-5", "trainer/embedding_optimizer/l2", 1e-5),
        ("weight=007", "weight", "007"),
        ("weight=no", "weight", "no"),
        ("weight='a b'", "weight", "a b"),
        ("weight=", "weight", ""),
        ('time="@timestamp"', "time", "@timestamp"),
        ('data.filter="my col" == 3', "data/filter", '"my col" == 3'),
        ("data.filter=a = b", "data/filter", "a = b"),
        ("data.train=a.csv,b.csv", "data/train", ["a.csv", "b.csv"]),
        ("data.train=[a.csv, 'b,c.csv']", "data/train", ["a.csv", "b,c.csv"]),
        ("data.join.0.file=x.csv", "data/join/0/file", "x.csv"),
        ("trainer.metrics=auc,logloss", "trainer/metrics", ["auc", "logloss"]),
        ("trainer.metrics+=gauc", "trainer/metrics", ["auc", "gauc"]),
        ("trainer.metrics+=gauc,mse", "trainer/metrics", ["auc", "gauc", "mse"]),
        ("trainer.metrics.0=logloss", "trainer/metrics", ["logloss"]),
        ("trainer.gpus=0,1", "trainer/gpus", [0, 1]),
        ("trainer.gpus+=2", "trainer/gpus", [2]),
        ("data.train+=more.parquet", "data/train", ["train.parquet", "more.parquet"]),
        ("features.ts.parts+=month", "features/ts/parts", ["hour", "weekday", "month"]),
        ("features.user_id.embed_dim=4", "features/user_id/embed_dim", 4),
        ("features.a.b.n_bins=4", "features/a.b/n_bins", 4),
        ("features.a.b.c.n_bins=4", "features/a.b.c/n_bins", 4),
        ('features."a.b".n_bins=4', "features/a.b/n_bins", 4),
        ("features.d e.embed_dim=4", "features/d e/embed_dim", 4),
        ("features.a.b.transform=minmax", "features/a.b/transform", "minmax"),
        ("features.a.b.transform.bucketize=1,5", "features/a.b/transform/bucketize", [1.0, 5.0]),
        ("features.a.b.transform={bucketize: [1, 5]}", "features/a.b/transform/bucketize", [1.0, 5.0]),
        ("features.new={type: sparse, embed_dim: 2}", "features/new/embed_dim", 2),
        ("features.n.e.w.type=sparse", "features/n.e.w/type", "sparse"),
        ("labels.click.positive=>= 4", "labels/click/positive", ">= 4"),
        ("labels.click.positive=4", "labels/click/positive", 4),
        ("labels.click.positive='4'", "labels/click/positive", "4"),
        ("model.params.hidden_dims=256,128", "model/params/hidden_dims", [256, 128]),
        ("model.params.dropout=1e-1", "model/params/dropout", 0.1),
        ("model.params.batch_norm=false", "model/params/batch_norm", False),
        ("trainer.clip_norm=null", "trainer/clip_norm", None),
        ("trainer.metrics=null", "trainer/metrics", None),
        ("features.d e.embed_dim=null", "features/d e/embed_dim", None),
        ("model.params=null", "model/params", {}),
        ("trainer.n_epoch=null", "trainer/n_epoch", 10),
        (" trainer.n_epoch = 3", "trainer/n_epoch", 3),
    ],
)
def test_an_override_sets_the_value_in_its_type(folder: Path, piece: str, place: str, expected: object) -> None:
    found = value(place, piece)
    assert found == expected
    assert type(found) is type(expected)


def test_null_takes_a_feature_away(folder: Path) -> None:
    assert list(read("features.a.b=null", "features.a.b.c=null").spec.features) == ["user_id", "d e", "ts"]


def test_the_last_of_two_overrides_wins_and_a_flag_wins_over_both(folder: Path) -> None:
    pieces = ["trainer.n_epoch=2", "trainer.n_epoch=3"]
    assert read(*pieces).spec.trainer.n_epoch == 3
    assert read(*pieces, sugar={"trainer.n_epoch": 4, "trainer.seed": None}).spec.trainer.n_epoch == 4


def test_data_paths_of_flags_are_relative_to_the_working_directory(folder: Path) -> None:
    sugar = {"data.train": "x.csv", "data.valid": ["-", "s3://bucket/y.parquet"]}
    data = read(sugar=sugar).spec.data
    assert data.train == [str(folder / "x.csv")]
    assert data.valid == ["-", "s3://bucket/y.parquet"]


def test_a_value_may_come_from_a_file(folder: Path) -> None:
    (folder / "params.json").write_text(json.dumps({"hidden_dims": [8], "activation": "é"}, indent="\t"))
    (folder / "params.yaml").write_text("hidden_dims: [4]\n")
    assert value("model/params", "model.params=@params.json") == {"hidden_dims": [8], "activation": "é"}
    assert value("model/params", "model.params=@params.yaml") == {"hidden_dims": [4]}


@pytest.mark.parametrize(
    ("piece", "told"),
    [
        ("trainer.n_epochs=3", "unknown key 'trainer.n_epochs'; did you mean 'trainer.n_epoch'?"),
        ("traner.n_epoch=3", "unknown key 'traner.n_epoch'; did you mean 'trainer.n_epoch'?"),
        ("trainer.lr=3", "did you mean 'trainer.optimizer_params.lr'?"),
        ("features.user_idd.embed_dim=3", "there is no feature 'user_idd'; did you mean 'features.user_id.embed_dim'?"),
        ("features.user_id.embd=3", "did you mean 'features.user_id.embed_dim'?"),
        ("trainer.n_epoch=many", "expected an integer, got 'many'"),
        ("trainer.n_epoch=", "there is no value after the ="),
        ("trainer.n_epoch+=1", "'trainer.n_epoch' is not a list"),
        ("trainer.n_epoch", "write KEY=VALUE"),
        ("=3", "write KEY=VALUE"),
        ("a..b=3", "write KEY=VALUE"),
        ('"a=3', "write KEY=VALUE"),
        ("trainer.seed=" + "9" * 5000, "5000 digits"),
        ("trainer.clip_norm=1e999", "a number this large"),
        ("trainer.gpus=[0", "not YAML"),
        ("trainer.n_epoch.x=3", "unknown key 'trainer.n_epoch.x'"),
        ("data.join.3.file=x", "'data.join' holds 1"),
        ("trainer.seed=@none.json", "cannot read none.json: No such file"),
        ("trainer.seed=@/dev/zero", "larger than"),
        ("trainer.seed=@deep.json", "deep.json: "),
        ("trainer.seed=@inf.json", "expected an integer"),
        ("weight=\udc80", "is not UTF-8 text"),
        ("weight=a\x00b", "is not UTF-8 text"),
    ],
)
def test_a_faulty_override_is_told_as_it_was_typed(folder: Path, piece: str, told: str) -> None:
    (folder / "deep.json").write_text("[" * 100_000 + "]" * 100_000)
    (folder / "inf.json").write_text("1e999")
    with pytest.raises(SpecError) as caught:
        read(piece)
    assert str(caught.value).startswith("1 problem in the spec\n\n--set ")
    assert told in str(caught.value)


def test_the_caret_stands_under_the_faulty_side_of_an_override(folder: Path) -> None:
    with pytest.raises(SpecError) as caught:
        read("trainer.n_epoch=many", "trainer.n_epochs=3")
    lines = str(caught.value).split("\n")
    for piece, column, length in [("trainer.n_epoch=many", 16, 4), ("trainer.n_epochs=3", 0, 16)]:
        head = next(i for i, line in enumerate(lines) if line.startswith(f"--set {piece}: "))
        assert lines[head + 1] == " " * (6 + column) + "^" * length
