"""The resolved spec says every value and its origin, and is a spec again; editors get a schema."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rechub_cli.spec.columns import resolve_columns
from rechub_cli.spec.document import decode, parse
from rechub_cli.spec.read import read_spec
from rechub_cli.spec.render import _flow, json_schema, keys, resolved_yaml

COLUMNS = {"user_id": "integer", "C1": "string", "C2": "string", "a.b c": "float", "click": "float", "no": "string"}
SPEC = """\
data: {train: [train.parquet, "day=*/x y.parquet"], join: [{file: u.csv, on: user_id}], filter: 'C1 == "a: b"'}
features:
  user_id: {type: sparse}
  C*: {type: sparse, embed_dim: 4}
  a.b c: {type: dense, transform: {bucketize: [1, 1e-7]}}
  "no": {type: sequence, separator: "\\u0001"}
labels: {click: {positive: "4"}}
model: {name: deepfm, params: {hidden_dims: [8]}}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "spec.yaml").write_text(SPEC.replace("[1, 1e-7]", "[1e-7, 1]"))
    return tmp_path


def test_every_value_is_there_with_its_origin(folder: Path) -> None:
    read = read_spec(
        "spec.yaml", ["trainer.optimizer_params.lr=1e-5", "features.user_id.embed_dim=8"], {"trainer.n_epoch": 3}
    )
    lines = resolved_yaml(read, resolve_columns(read, COLUMNS)).splitlines()
    for line in (
        "  n_epoch: 3  # --epochs",
        "    lr: 1.0e-05  # --set",
        "  seed: 2026  # default",
        "  name: deepfm  # spec.yaml:8",
        "    hidden_dims: [8]  # spec.yaml:8",
        "    dropout: 0.2  # default",
    ):
        assert line in lines
    features = {line.split(":")[0].strip(): line for line in lines}
    assert features["C2"].endswith("# spec.yaml:4")
    assert "embed_dim: 8" in features["user_id"]
    assert features["user_id"].endswith("# spec.yaml:3; embed_dim: --set")


def test_a_cleared_key_is_a_default_again(folder: Path) -> None:
    read = read_spec("spec.yaml", ["model.params=null", "trainer.clip_norm=null"])
    lines = resolved_yaml(read, resolve_columns(read, COLUMNS)).splitlines()
    assert "    hidden_dims: [256, 128]  # default" in lines
    assert "  clip_norm: null  # --set" in lines


def test_it_is_a_spec_that_means_the_same(folder: Path) -> None:
    read = read_spec("spec.yaml", ["trainer.optimizer_params.lr=1e-5"])
    spec = resolve_columns(read, COLUMNS)
    Path("again.yaml").write_text(resolved_yaml(read, spec))
    once = resolve_columns(read_spec("again.yaml"), COLUMNS)
    first, second = spec.model_dump(), once.model_dump()
    assert {**first, "model": None} == {**second, "model": None}
    assert first["model"]["params"].items() <= second["model"]["params"].items()


def test_paths_are_rewritten_for_another_folder(folder: Path) -> None:
    (folder / "m.py").write_text("class M:\n    def __init__(self, schema): ...\n")
    read = read_spec("spec.yaml", ["model={name: ./m.py:M}", "data.valid=/abs/v.csv"])
    spec = resolve_columns(read, COLUMNS)
    run = folder / "runs" / "one"
    run.mkdir(parents=True)
    (run / "spec.yaml").write_text(resolved_yaml(read, spec, run))
    moved = read_spec(run / "spec.yaml").spec
    assert moved.data.train == ["../../train.parquet", "../../day=*/x y.parquet"]
    assert moved.data.valid == ["/abs/v.csv"]
    assert moved.data.join[0].file == "../../u.csv"
    assert moved.model.name == "../../m.py:M"


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**63), 2**64 - 1)
        | st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False)
        | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00")),
        lambda inside: (
            st.lists(inside, max_size=4)
            | st.dictionaries(
                st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00")), inside, max_size=4
            )
        ),
        max_leaves=8,
    )
)
def test_any_value_is_read_back_as_it_was_written(value: object) -> None:
    document = parse(decode(f"a: {_flow(value)}\n".encode()))
    assert document.faults == []
    assert document.data == {"a": value}


def test_keys_list_every_key_with_type_and_default() -> None:
    found = {key["key"]: key for key in keys("deepfm")}
    assert found["trainer.batch_size"] == {"key": "trainer.batch_size", "type": "integer", "default": "4096"}
    assert found["features.<name>.max_len"]["default"] == "50"
    assert found["features.<name>.type"]["default"] == "required"
    assert found["model.params.hidden_dims"]["type"] == "list of integers"


def test_the_json_schema_knows_models_and_their_options() -> None:
    schema = json.loads(json.dumps(json_schema()))
    model = schema["$defs"]["Model"]
    assert "deepfm" in model["properties"]["name"]["examples"]
    rule = next(rule for rule in model["allOf"] if rule["if"]["properties"]["name"]["const"] == "deepfm")
    params = rule["then"]["properties"]["params"]
    assert params["properties"]["dropout"]["type"] == "number"
    assert params["additionalProperties"] is False
    train = schema["$defs"]["Data"]["properties"]["train"]["anyOf"]
    assert {"type": "string"} in [one for option in train for one in option.get("anyOf", [option])]
