"""Options are read from a signature without running it, and values are coerced to their types."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rechub_cli import plugins
from rechub_cli.plugins.options import REQUIRED, Options, check_values

SOURCE = '''
from __future__ import annotations
import typing as t
from collections.abc import Mapping, Sequence
from typing import Literal, Optional, Union
from shared import Activation
import torch

Widths = list[int]


class Base:
    def __init__(self, schema, *, rate: float = 0.1, **more: float) -> None: ...


class Child(Base):
    pass


class Model(torch.nn.Module):
    """A model."""

    def __init__(
        self,
        schema: Schema,
        *,
        n: int,
        widths: Widths = [1],
        pair: tuple[int, float] = (1, 0.5),
        many: tuple[int, ...] = (),
        names: "Sequence[str]" = (),
        rate: float | None = None,
        maybe: Optional[int] = None,
        mixed: Union[str, int] = "x",
        kind: t.Literal["a", "b", 3] = "a",
        activation: Activation = "relu",
        flag: bool = False,
        text: str = "",
        extra: Mapping[str, float] = {},
        loose=None,
        tensor: float | torch.Tensor = -1.5,
    ) -> None: ...


def loss(logits, labels, weights=None, *, gamma: float = 2.0): ...
'''


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "model.py").write_text(SOURCE)
    (tmp_path / "shared.py").write_text("from typing import Literal\nActivation = Literal['relu', 'dice']\n")
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@pytest.fixture
def known(base: Path) -> Options:
    return plugins.options("models", "./model.py:Model", base)


def test_types_and_defaults_are_read_from_the_source(known: Options) -> None:
    assert {name: option.type for name, option in known.items()} == {
        "n": "integer",
        "widths": "list of integers",
        "pair": "list of 2: integer, number",
        "many": "list of integers",
        "names": "list of texts",
        "rate": "number or null",
        "maybe": "integer or null",
        "mixed": "text or integer",
        "kind": "one of a, b, 3",
        "activation": "one of relu, dice",
        "flag": "true or false",
        "text": "text",
        "extra": "mapping",
        "loose": "any value",
        "tensor": "number",
    }
    assert known["n"].default is REQUIRED
    assert known["tensor"].default == -1.5
    assert not known.open


def test_a_constructor_is_inherited_and_may_be_open(base: Path) -> None:
    found = plugins.options("models", "./model.py:Child", base)
    assert list(found) == ["rate"]
    assert found.open
    assert check_values(found, {"anything": 3}, "model")[1] == []


def test_of_a_function_only_keywords_are_options(base: Path) -> None:
    assert list(plugins.options("losses", "./model.py:loss", base)) == ["gamma"]


def test_what_the_source_cannot_say_is_asked_of_the_object(base: Path) -> None:
    (base / "made.py").write_text(
        "from dataclasses import dataclass\n@dataclass\nclass M:\n    schema: object\n    depth: int = 1 + 1\n"
    )
    found = plugins.options("models", "./made.py:M", base)
    assert {name: (option.type, option.default) for name, option in found.items()} == {"depth": ("integer", 2)}


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("n", "12", 12),
        ("n", 12.0, 12),
        ("widths", 64, [64]),
        ("widths", "64,32", [64, 32]),
        ("widths", ["64", 32.0], [64, 32]),
        ("widths", [], []),
        ("pair", [1, 2], (1, 2.0)),
        ("many", [1, 2], (1, 2)),
        ("names", "a", ["a"]),
        ("rate", None, None),
        ("rate", "1e-3", 0.001),
        ("mixed", "5", "5"),
        ("mixed", 5, 5),
        ("kind", "b", "b"),
        ("kind", "3", 3),
        ("flag", "true", True),
        ("text", 5, "5"),
        ("extra", {"a": "1"}, {"a": 1.0}),
        ("loose", {"a": [1]}, {"a": [1]}),
    ],
)
def test_a_value_is_coerced_to_its_type(known: Options, option: str, value: Any, expected: Any) -> None:
    checked, problems = check_values(known, {"n": 1, option: value}, "model 'm'")
    assert problems == []
    assert checked[option] == expected
    assert type(checked[option]) is type(expected)


@pytest.mark.parametrize(
    ("option", "value", "text", "path"),
    [
        ("n", "x", "expected an integer, got 'x'", ("n",)),
        ("n", True, "expected an integer, got true", ("n",)),
        ("n", 1.5, "expected an integer, got 1.5", ("n",)),
        ("n", None, "expected an integer, got null", ("n",)),
        ("n", "9" * 5000, "expected an integer, got '9", ("n",)),
        ("rate", float("inf"), "expected a number, got inf", ("rate",)),
        ("rate", [1], "expected a number, got [1]", ("rate",)),
        ("widths", [1, "x"], "expected an integer, got 'x'", ("widths", 1)),
        ("widths", None, "expected a list of integers, got null", ("widths",)),
        ("widths", {"a": 1}, "expected a list of integers", ("widths",)),
        ("pair", [1], "expected a list of 2: integer, number", ("pair",)),
        ("extra", {"a": "x"}, "expected a number, got 'x'", ("extra", "a")),
        ("flag", "yes", "expected true or false, got 'yes'", ("flag",)),
        ("flag", 1, "expected true or false, got 1", ("flag",)),
        ("activation", "rely", "'rely' is not one of relu, dice", ("activation",)),
    ],
)
def test_a_value_that_does_not_fit_is_told(known: Options, option: str, value: Any, text: str, path: Any) -> None:
    _, (problem,) = check_values(known, {"n": 1, option: value}, "model 'm'")
    assert problem.text.startswith(text)
    assert problem.path == path


def test_a_wrong_choice_and_a_wrong_name_get_a_guess(known: Options) -> None:
    _, problems = check_values(known, {"n": 1, "activation": "rely", "width": 1, "zzz": 1}, "model 'm'")
    assert [problem.suggestion for problem in problems] == ["relu", "widths", None]
    assert problems[2].text.startswith("model 'm' has no option 'zzz'; its options: n, widths")


def test_a_missing_option_is_told(known: Options) -> None:
    _, (problem,) = check_values(known, {}, "model 'm'")
    assert problem.text == "model 'm' needs the option 'n' (integer)"


@pytest.mark.parametrize("name", plugins.names("models"))
def test_every_built_in_model_says_its_options_and_itself(name: str) -> None:
    described = plugins.describe("models", name)
    assert described.summary.endswith(".")
    assert all(option.type != "any value" for option in described.options.values())
