from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from fake_rows import FakeRows, chunk, spec

from rechub_cli.data.chunk import Chunk
from rechub_cli.data.encoder import Encoder
from rechub_cli.errors import DataError


def labels(column: Any, **label: Any) -> list[float]:
    rows = FakeRows({"a": [1] * len(column), "y": column})
    encoder = Encoder.fit(spec({"a": {"type": "sparse"}}, labels={"y": label}), rows)
    return encoder.encode(chunk(rows.table)).labels[:, 0].tolist()


@pytest.mark.parametrize(
    "column",
    [
        [0, 1, None],
        [False, True, None],
        [0.0, 1.0, None],
        ["0", "1", None],
        pa.array(["0", "1", None]).dictionary_encode(),
    ],
)
def test_a_classification_takes_zero_one_and_null(column: Any) -> None:
    out = labels(column)
    assert out[:2] == [0, 1]
    assert math.isnan(out[2])


@pytest.mark.parametrize(
    ("positive", "column", "expected"),
    [
        (">= 4", [3, 4, 5], [0, 1, 1]),
        ("> 4", [3, 4.0, 4.5], [0, 0, 1]),
        ("<2.5", [2, 3, 1], [1, 0, 1]),
        ("<= 2", [2, 3, 1], [1, 0, 1]),
        ("== 2", ["2", "3", "2.0"], [1, 0, 1]),
        ("!= 2", [2, 3, 1], [0, 1, 1]),
        (4, [4, 4.0, 5], [1, 1, 0]),
        (4, ["4", "5", "4"], [1, 0, 1]),
        ("yes", ["yes", "no", "Yes"], [1, 0, 0]),
        (True, [True, False, True], [1, 0, 1]),
        ("- 50000.", ["- 50000.", "50000+.", "- 50000."], [1, 0, 1]),
    ],
)
def test_positive_says_which_values_mean_yes(positive: Any, column: Any, expected: list[int]) -> None:
    out = labels([*column, None], positive=positive)
    assert out[:-1] == expected
    assert math.isnan(out[-1])


def test_a_regression_takes_any_finite_number() -> None:
    assert labels([1.5, -2, 10], type="regression") == [1.5, -2, 10]


@pytest.mark.parametrize(
    ("column", "label", "message"),
    [
        (
            [0, 1, 2],
            {},
            r"train.csv, row 3: label y is 2, and a classification needs 0 or 1. .*labels.y.positive: \">= 4\"",
        ),
        ([0, 0.5], {}, r"train.csv, row 2: label y is 0.5"),
        ([0, float("nan")], {}, r"train.csv, row 2: label y is nan, which is not a finite number"),
        ([0, float("inf")], {"type": "regression"}, r"row 2: label y is inf"),
        ([0, 1e39], {"type": "regression"}, r"row 2: label y is 1e\+39"),
        (["no", "yes"], {}, r"row 1: label y is no, which is not a finite number. .*labels.y.positive"),
        ([1.0, float("nan")], {"positive": ">= 4"}, r"row 2: label y is nan"),
        (["x", "1"], {"positive": ">= 4"}, r"row 1: label y is x"),
        (pa.array([1, 2], pa.timestamp("s")), {}, r"label y is of type timestamp"),
    ],
)
def test_a_value_that_is_no_label_is_named_with_its_row_before_training(column: Any, label: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        labels(column, **label)


def test_the_row_is_that_of_the_file_also_after_a_filter() -> None:
    table = pa.table({"a": [1, 1], "y": [0, 7]})
    encoder = Encoder.fit(spec({"a": {"type": "sparse"}}, labels={"y": {}}), FakeRows({"a": [1], "y": [0]}))
    with pytest.raises(DataError, match=r"day2.csv, row 106: label y is 7"):
        encoder.encode(Chunk(table, "day2.csv", 100, np.array([2, 5])))


def test_weights_are_numbers_from_zero_up() -> None:
    features = spec({"a": {"type": "sparse"}}, labels={"y": {}}, weight="w")
    rows = {"a": [1, 1], "y": [0, 1], "w": [0.5, 2]}
    block = Encoder.fit(features, FakeRows(rows)).encode(chunk(rows))
    assert block.rows[:, block.layout.weights].view(np.float32)[:, 0].tolist() == [0.5, 2]
    for bad in (-1.0, None, float("nan"), float("inf")):
        with pytest.raises(DataError, match=r"train.csv, row 2: weight w is"):
            Encoder.fit(features, FakeRows({**rows, "w": [1.0, bad]}))


def test_rows_of_one_group_get_one_number_whatever_the_type() -> None:
    def groups(column: Any) -> list[int]:
        rows = FakeRows({"a": [1] * 4, "g": column})
        block = Encoder.fit(spec({"a": {"type": "sparse"}}, group="g"), rows).encode(chunk(rows.table))
        return np.ascontiguousarray(block.rows[:, block.layout.groups]).view(np.int64)[:, 0].tolist()

    one = groups([7, 8, 7, None])
    assert one[0] == one[2]
    assert len(set(one)) == 3
    assert groups([7.0, 8.0, 7.0, None]) == one
    assert len(set(groups(["a", "b", "a", None]))) == 3


def test_several_labels_keep_the_order_of_the_spec_and_labels_can_be_left_out() -> None:
    rows = {"a": [1, 1], "y": [0, 1], "rating": [2.5, None]}
    features = spec({"a": {"type": "sparse"}}, labels={"stars": {"type": "regression", "column": "rating"}, "y": {}})
    encoder = Encoder.fit(features, FakeRows(rows))
    assert encoder.schema.labels == ("stars", "y")
    assert encoder.encode(chunk(rows)).labels[0].tolist() == [2.5, 0]
    without = encoder.encode(chunk({"a": [1, 1]}), labels=False)
    assert without.rows.shape == (2, 1)
    with pytest.raises(DataError, match="there is no column rating"):
        encoder.encode(chunk({"a": [1, 1]}))
