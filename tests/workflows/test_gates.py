"""Conditions on metrics: what they mean, that they fail closed, and that nothing in them is run."""

import math

import pytest

from rechub_cli.errors import CheckFailed, UsageError
from rechub_cli.workflows.gates import Gate, check_gates, read_gates, values_of

VALUES = {"auc": 0.75, "logloss": 0.5, "ndcg@10[u100]": 0.2, "none": math.nan, "huge": math.inf} | values_of(
    {}, {"AUC": 0.751, "logloss": 0.499, "zero": 0.0}
)


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("auc >= 0.75", True),
        ("AUC > .75", False),
        ("auc==0.75", True),
        ("auc != 7.5e-1", False),
        ("auc in 0.7..0.8", True),
        ("auc in 0..1", True),
        ("auc in 0.76..0.8", False),
        ("auc in against.auc - 0.01..against.auc + 0.01", True),
        ("logloss <= against.logloss*1.002", False),
        ("logloss <= against.logloss*1.003", True),
        ("auc >= against.auc - 0.001", True),
        ("auc >= against.auc-0.0009", False),
        ("2 * auc - 1 > -0.5 + (1 - logloss) * 2 / 2", True),
        ("1 - 0.25 - 0.25 <= logloss", True),  # from left to right
        ("8/4/2 == auc + 0.25", True),
        ("0.7 < auc", True),
        ("ndcg@10[u100] >= 0.2", True),
        ("-auc < -(-(-0.1))", True),
    ],
)
def test_what_a_condition_means(text, holds):
    assert Gate.parse("--require", text).holds(VALUES) is holds
    assert Gate.parse("--require", text).passes(VALUES) is holds
    assert Gate.parse("--fail-if", text).passes(VALUES) is not holds


@pytest.mark.parametrize(
    "text",
    ["none > 0", "none != 1", "missing < 1", "auc / against.zero > 0", "huge > 0", "auc * 1e400 > 0", "0 * none <= 1",
     "auc >= 0 * none", "auc in 0..none", "1e308 * 10 > auc"],
)  # fmt: skip
def test_what_is_undefined_passes_nothing(text):
    for flag in ("--require", "--fail-if"):
        gate = Gate.parse(flag, text)
        assert gate.holds(VALUES) is None
        assert not gate.passes(VALUES)
        with pytest.raises(CheckFailed):
            check_gates((gate,), VALUES)


@pytest.mark.parametrize(
    "text",
    ["", "auc", "auc >", "auc > 1 2", "auc > 1 > 0", "1 > 0", "auc in 1", "auc = 1", "auc >= 0.1.2",
     "__import__('os').system('x') > 1", "auc > 1; auc", "auc.real > 0", "against > in", "(auc > 1", "auc ** 2 > 1",
     "(" * 5000 + "auc" + ")" * 5000 + " > 0", "-" * 5000 + "auc > 0", "auc" + "+auc" * 5000 + " > 0", "auc > 1 or 1",
     "lambda: 1 > 0", "auc > 0x1", "auc > nan()", "auc\x00 > 1"],
)  # fmt: skip
def test_anything_else_is_usage(text):
    with pytest.raises(UsageError, match="is no condition"):
        Gate.parse("--require", text)


def test_the_other_run_must_be_named():
    with pytest.raises(UsageError, match="--against RUN"):
        read_gates(("auc >= against.auc",), (), against=False)


def test_a_gate_says_what_it_saw():
    simple, compared = (Gate.parse("--require", text) for text in ("auc >= 0.8", "logloss <= against.logloss * 1.001"))
    assert simple.told(VALUES) == "--require 'auc >= 0.8': auc is 0.75"
    assert compared.told(VALUES).endswith("logloss is 0.5, against.logloss is 0.499; 0.5 <= 0.499499")
    assert compared.to_json(VALUES)["values"] == {"logloss": 0.5, "against.logloss": 0.499}
    assert simple.told({}).endswith("auc is undefined")
