"""A spec is read whole or refused with everything that is wrong with it, each fault in its place."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rechub_cli.errors import NoInput, SpecError, Unavailable
from rechub_cli.spec.columns import resolve_columns
from rechub_cli.spec.read import ReadSpec, read_spec

COLUMNS = {"user_id": "integer", "item_id": "string", "price": "float", "hist_items": "list", "click": "integer"}
GOOD = """\
data:
  train: data/train.parquet
features:
  user_id: {type: sparse}
labels: {click: {}}
model: {name: deepfm}
"""


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str | bytes], Path]:
    monkeypatch.chdir(tmp_path)

    def written(text: str | bytes) -> Path:
        content = text if isinstance(text, bytes) else dedent(text).encode()
        (tmp_path / "ctr.yaml").write_bytes(content)
        return Path("ctr.yaml")

    return written


def message(path: Path, *overrides: str, **options: object) -> str:
    with pytest.raises(SpecError) as caught:
        read_spec(path, overrides, **options)  # type: ignore[arg-type]
    return str(caught.value)


def test_a_bad_column_and_a_bad_override_are_told_in_one_go(write: Callable[[str], Path]) -> None:
    path = write(
        """\
        data:
          train: data/train.parquet
        model: {name: deepfm}
        labels: {click: {}}
        features:
          user_id:  {type: sparse}
          item_idd: {type: sparse}
        """
    )
    assert message(path, "trainer.n_epochs=3", columns=lambda spec, base: COLUMNS) == dedent(
        """\
        2 problems in the spec

        ctr.yaml:7:3: features.item_idd: column 'item_idd' is not in data/train.parquet
          6 |   user_id:  {type: sparse}
          7 |   item_idd: {type: sparse}
            |   ^^^^^^^^ did you mean 'item_id'?
          columns there: user_id, item_id, price, hist_items, click

        --set trainer.n_epochs=3: unknown key 'trainer.n_epochs'; did you mean 'trainer.n_epoch'?
              ^^^^^^^^^^^^^^^^
          see all keys: rechub models show deepfm --keys"""
    )


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (
            "trainer: {n_epochs: 3}",
            ["ctr.yaml:7:11: trainer.n_epochs: unknown key 'n_epochs'", "did you mean 'n_epoch'?"],
        ),
        ("batch_size: 3", ["7:1: batch_size: unknown key", "did you mean 'trainer.batch_size'?"]),
        ("lr: 1e-3", ["did you mean 'trainer.optimizer_params.lr'?"]),
        ("trainer: {batch_size: many}", ["7:23: trainer.batch_size: expected an integer, got 'many'"]),
        ("trainer: {batch_size: true}", ["7:23: trainer.batch_size: expected an integer, got true"]),
        ("trainer: {batch_size: -4}", ["must be above 0, not -4"]),
        ("trainer: {batch_size: 1.5}", ["expected an integer, got 1.5"]),
        ("trainer: {precision: fp23}", ["'fp23' is not one of fp32, bf16", "did you mean 'fp32'?"]),
        ("trainer: [1]", ["7:10: trainer: expected a mapping, got a list"]),
        ("trainer: {regularization_params: {depth: 1}}", ["unknown key 'depth'; known here: embedding_l1"]),
        ("embed_dim: 4\nembed_dim: 5", ["ctr.yaml:8:1: the key 'embed_dim' stands twice (first in line 7)"]),
        ("embed_dim: 1e400", ["7:12: a number this large"]),
    ],
)
def test_a_fault_is_told_with_its_place_and_remedy(write: Callable[[str], Path], line: str, told: list[str]) -> None:
    text = message(write(GOOD + line))
    assert text.startswith("1 problem in the spec\n")
    for part in told:
        assert part in text


@pytest.mark.parametrize(
    ("feature", "told"),
    [
        ("{}", "has no type; add 'type:' with one of sparse, dense"),
        ("sparse", "expected a mapping such as {type: sparse}, got 'sparse'"),
        ("{type: spars}", "did you mean 'sparse'?"),
        ("{type: [1]}", "is not one of sparse"),
        ("{type: sparse, embd_dim: 4}", "did you mean 'embed_dim'?"),
        ("{type: dense, transform: scale}", "or mapping {bucketize: list of number}, got 'scale'"),
        ("{type: dense, transform: {bucketise: [1]}}", "unknown key 'bucketise'"),
        ("{type: dense, transform: {bucketize: [a]}}", "transform.bucketize.0: expected a number, got 'a'"),
        ("{type: vector}", "features.f.dim: is required (integer)"),
        ("{type: sequence, separator: ''}", "features.f.separator: must not be empty"),
        ("{type: datetime, parts: [hour, weekdy]}", "did you mean 'weekday'?"),
    ],
)
def test_a_faulty_feature_is_told(write: Callable[[str], Path], feature: str, told: str) -> None:
    text = message(write(f"features:\n  f: {feature}\nmodel: {{name: lr}}\n"))
    assert text.startswith("1 problem in the spec\n\nctr.yaml:2:")
    assert told in text


def test_all_faults_are_told_in_the_order_of_the_file(write: Callable[[str], Path]) -> None:
    text = message(write("features: {a: {type: x}}\nembed_dim: zero\nmodel: {}\nfoo: 1\n"))
    places = ["ctr.yaml:1:22", "ctr.yaml:2:12", "ctr.yaml:3:1: model.name: is required", "ctr.yaml:4:1"]
    assert "4 problems" in text
    assert [text.index(place) for place in places] == sorted(text.index(place) for place in places)


def test_carets_stand_under_what_they_mark(write: Callable[[str], Path]) -> None:
    lines = message(write('model: {name: lr}\nfeatures: {"都市": {type: sparse}, x: {kind: 3, type: dense}}\n')).split(
        "\n"
    )
    marked = next(line for line in lines if "^" in line)
    source = lines[lines.index(marked) - 1]
    assert source[: source.index("kind")].count("都市") == 1
    assert marked.index("^") == source.index("kind") + 2  # two wide letters fill two more columns
    assert "^^^^" in marked


def test_a_long_line_is_shown_around_its_fault(write: Callable[[str], Path]) -> None:
    features = ", ".join(f"f{i}: {{type: sparse}}" for i in range(500))
    text = message(write(f"features: {{{features}, bad: {{type: sparse, x: 1}}}}\nmodel: {{name: lr}}\n"))
    assert max(map(len, text.split("\n"))) < 300
    assert "bad: {type: sparse, x: 1}" in text


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"- a\n- b\n", "this is a list"),
        (b"hello", "this is one value"),
        (b"# nothing\n", "holds no keys"),
        (b"a:\n\tb: 1\n", "ctr.yaml:2:1: a tab cannot indent YAML"),
        (b"\xff\xfe\x00", "not UTF-8"),
        (b"a: \x07", "control character"),
    ],
)
def test_a_file_that_is_no_spec_is_refused(write: Callable[[bytes], Path], content: bytes, told: str) -> None:
    assert told in message(write(content))


def test_a_missing_and_an_empty_spec_are_no_input(write: Callable[[bytes], Path], tmp_path: Path) -> None:
    for path in (Path("none.yaml"), tmp_path, write(b""), write(b" \n")):
        with pytest.raises(NoInput):
            read_spec(path)


def test_a_fault_cannot_send_control_characters_to_a_terminal(write: Callable[[str], Path]) -> None:
    text = message(write('features: {"\\e[2J": {type: x}}\nmodel: {name: "\\e[31m", "\\x9b": 1}\n'), "a\x1b=1")
    assert text.replace("\n", "").isprintable()


def test_text_is_taken_as_written_where_text_is_due(write: Callable[[str], Path]) -> None:
    read = read_spec(write(GOOD + "group: 007\ntime: 1e3\nuser: true\n"))
    assert (read.spec.group, read.spec.time, read.spec.user) == ("007", "1e3", "true")


def test_text_in_the_file_becomes_a_number_where_one_is_due(write: Callable[[str], Path]) -> None:
    read = read_spec(write(GOOD + "trainer: {n_epoch: '3', clip_norm: 1e-1}\n"))
    assert (read.spec.trainer.n_epoch, read.spec.trainer.clip_norm) == (3, 0.1)


def test_one_value_may_stand_where_a_list_may(write: Callable[[str], Path]) -> None:
    assert read_spec(write(GOOD)).spec.data.train == ["data/train.parquet"]


def test_a_value_knows_where_it_comes_from(write: Callable[[str], Path]) -> None:
    read = read_spec(write(GOOD), ["features.user_id.embed_dim=8"], {"trainer.n_epoch": 2})
    assert str(read.at("features.user_id")) == "ctr.yaml:4:3"
    assert str(read.at("features.user_id.embed_dim")) == "--set features.user_id.embed_dim=8"
    assert str(read.at("trainer.n_epoch")) == "--epochs"
    assert str(read.at("trainer.seed")) == "default"


def test_another_room_can_add_its_own_problems(write: Callable[[str], Path]) -> None:
    read = read_spec(write(GOOD))
    with pytest.raises(SpecError) as caught:
        read.fail([("data.filter", "column 'x' is not there"), ("model.name", "is too big", "lr")])
    assert "ctr.yaml:1:1: data.filter: column 'x' is not there" in str(caught.value)
    assert "ctr.yaml:6:15: model.name: is too big" in str(caught.value)
    assert "^^^^^^ did you mean 'lr'?" in str(caught.value)


def test_many_faults_are_counted_and_the_first_shown_quickly(write: Callable[[str], Path]) -> None:
    text = message(write(GOOD + "".join(f"k{i}: 1\n" for i in range(20_000))))
    assert text.startswith("20000 problems in the spec")
    assert text.endswith("... and 19960 more")


def test_a_wrong_spec_is_told_within_a_second_and_without_torch(write: Callable[[str], Path]) -> None:
    path = write(GOOD.replace("deepfm", "deepfmm") + "trainer: {n_epochs: 3, scheduler: StepLR, optimizer: adamw}\n")
    program = dedent(
        f"""
        import sys, time
        from rechub_cli.errors import SpecError
        from rechub_cli.spec.read import read_spec
        try:
            read_spec({str(path)!r}, columns=lambda spec, base: {COLUMNS!r})
        except SpecError as error:
            told = str(error)
        for part in ("unknown model 'deepfmm'", "n_epochs", "step_size"):
            assert part in told, told
        assert not {{"torch", "pandas", "pyarrow", "sklearn"}} & set(sys.modules)
        assert time.process_time() < 1, time.process_time()
        """
    )
    subprocess.run([sys.executable, "-c", program], check=True, env={**os.environ, "PYTHONWARNINGS": "error"})


anything = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_subnormal=False) | st.text(max_size=4),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(max_size=4), inside, max_size=3),
    max_leaves=6,
)
SECTIONS = ["data", "features", "labels", "model", "trainer", "embed_dim", "group", "data.split", "model.name"]
SECTIONS += ["model.params", "trainer.optimizer", "trainer.metrics", "features.x", "features.x.type", "data.join"]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from(SECTIONS), anything, max_size=5), st.sampled_from(SECTIONS), st.text(max_size=8))
def test_no_spec_or_override_ends_in_anything_but_a_documented_error(
    write: Callable[[str], Path], parts: dict[str, object], key: str, value: str
) -> None:
    spec: dict[str, Any] = {"features": {"user_id": {"type": "sparse"}}, "model": {"name": "lr"}}
    for place, part in parts.items():
        above, _, last = place.rpartition(".")
        inside = spec.setdefault(above, {}) if above and "." not in above else spec
        (inside if isinstance(inside, dict) else spec)[last] = part
    path = write(json.dumps(spec, allow_nan=True))
    told = ""
    try:
        read: ReadSpec = read_spec(path, [f"{key}={value}"], columns=lambda spec, base: COLUMNS)
        resolve_columns(read, COLUMNS)
    except (SpecError, Unavailable) as error:
        told = str(error)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f]", told)
