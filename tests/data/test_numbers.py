from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from fake_rows import FakeRows, chunk, spec

from rechub_cli.data.encoder import Encoder
from rechub_cli.data.numbers import SAMPLE, RowSample
from rechub_cli.errors import DataError


def numbers(column: Any, later: Any = None, **options: Any) -> np.ndarray:
    encoder = Encoder.fit(spec({"x": {"type": "dense", **options}}), FakeRows({"x": column}))
    block = encoder.encode(chunk({"x": column if later is None else later}))
    return block.rows[:, block.layout.dense].view(np.float32).round(4)


def test_each_transform_of_three_numbers_and_a_null() -> None:
    column = [1.0, 3.0, 5.0, None]
    assert numbers(column, transform="none")[:, 0].tolist() == [1, 3, 5, 3]
    assert numbers(column, transform="minmax")[:, 0].tolist() == [0, 0.5, 1, 0.5]
    assert numbers(column, transform="standardize")[:, 0].tolist() == pytest.approx([-1.2247, 0, 1.2247, 0], abs=1e-4)
    logs = [math.log(2), math.log(4), math.log(6)]
    assert numbers(column, transform="log1p")[:, 0].tolist() == pytest.approx([*logs, sum(logs) / 3], abs=1e-4)
    assert numbers([-1.0], transform="log1p")[:, 0].tolist() == pytest.approx([-math.log(2)], abs=1e-4)
    assert numbers([1, 2, 2, 9, None], transform="quantile")[:, 0].tolist() == [0.125, 0.5, 0.5, 0.875, 0.5]


def test_the_population_s_mean_and_spread_do_not_depend_on_its_distance_from_zero() -> None:
    far = numbers(1e9 + np.arange(10.0), transform="standardize")
    near = numbers(np.arange(10.0), transform="standardize")
    assert np.allclose(far, near, atol=1e-3)


def test_nan_infinite_and_too_large_values_are_missing_and_can_be_flagged() -> None:
    encoder = Encoder.fit(
        spec({"x": {"type": "dense", "flag_missing": True}}), FakeRows({"x": [1.0, 3.0, float("nan"), float("inf")]})
    )
    block = encoder.encode(chunk({"x": [1.0, None, float("nan"), float("-inf"), 1e300]}))
    assert block.rows.view(np.float32).tolist() == [[-1, 0], [0, 1], [0, 1], [0, 1], [0, 1]]
    assert block.missing == {"x": 4}
    assert [feature.name for feature in encoder.schema.dense] == ["x", "x.missing"]


def test_a_sentinel_beyond_every_number_does_not_spoil_the_scale() -> None:
    assert numbers([1.0, 3.0, -1.7e308, 1.7e308], transform="standardize")[:, 0].tolist() == [-1, 1, 0, 0]


@pytest.mark.parametrize("transform", ["none", "standardize", "minmax", "log1p", "quantile"])
def test_a_constant_column_and_an_empty_one_give_finite_numbers(transform: str) -> None:
    assert np.isfinite(numbers([7.0, 7.0], later=[7.0, 8.0, None], transform=transform)).all()
    assert np.isfinite(numbers(pa.nulls(2, pa.float64()), later=[1.0, None], transform=transform)).all()


@pytest.mark.parametrize(
    "column", [[1, 2, None], [True, False, None], ["1", "2", None], pa.array([1, 2, None], pa.decimal128(9, 2))]
)
def test_integers_booleans_decimals_and_text_that_is_a_number_are_numbers(column: Any) -> None:
    assert numbers(column, transform="minmax")[2, 0] == 0.5


def test_text_that_is_no_number_is_an_error_that_names_the_column() -> None:
    with pytest.raises(DataError, match=r"column x: .*abc"):
        numbers(["1", "abc"])
    with pytest.raises(DataError, match=r"column x: values of type date32"):
        numbers(pa.array([1], pa.date32()))


def test_bucketize_makes_a_category() -> None:
    encoder = Encoder.fit(spec({"x": {"type": "dense", "transform": {"bucketize": [1, 5]}}}), FakeRows({"x": [1.0]}))
    assert encoder.encode(chunk({"x": [0.9, 1.0, 4.9, 5.0, None]})).rows[:, 0].tolist() == [3, 4, 4, 5, 1]
    assert encoder.schema["x"].vocab_size == 6


def test_a_value_that_fills_bins_alone_is_one_edge_and_the_others_share_the_rest() -> None:
    """Nine of ten values are 0, as of a count: the bins still tell the others apart."""
    values = [0.0] * 900 + [float(value) for value in range(1, 101)]
    features = spec({"x": {"type": "dense", "transform": "none", "embedding": "piecewise_linear", "n_bins": 5}})
    edges = Encoder.fit(features, FakeRows({"x": values})).schema["x"].bins
    assert edges == pytest.approx([0, 1, 25.75, 50.5, 75.25, 100])


def test_bins_of_an_embedded_number_hold_equal_shares_in_the_transformed_scale() -> None:
    features = spec({"x": {"type": "dense", "transform": "minmax", "embedding": "piecewise_linear", "n_bins": 4}})
    schema = Encoder.fit(features, FakeRows({"x": np.arange(101.0) ** 2})).schema
    assert schema["x"].bins == pytest.approx([0, 0.0625, 0.25, 0.5625, 1])
    assert schema["x"].embed_dim == 16
    constant = Encoder.fit(features, FakeRows({"x": [5.0, 5.0]})).schema["x"].bins
    assert len(constant) == 2
    assert constant[0] < constant[1]


def test_quantiles_of_a_long_stream_come_from_a_fair_sample_of_fixed_size() -> None:
    sample, n = RowSample(size=1000), 20_000
    for start in range(0, n, 777):
        part = np.arange(start, min(start + 777, n), dtype=float)
        sample.add({"x": part}, len(part))
    values = sample.values("x")
    assert len(np.unique(values)) == 1000
    assert np.abs(np.quantile(values, [0.1, 0.5, 0.9]) / n - [0.1, 0.5, 0.9]).max() < 0.05
    at_once = RowSample(size=1000)
    at_once.add({"x": np.arange(n, dtype=float)}, n)
    assert np.array_equal(values, at_once.values("x"))
    assert SAMPLE >= 100_000


def test_vectors_fill_their_columns_and_a_wrong_length_names_the_row() -> None:
    features = spec({"v": {"type": "vector", "dim": 2}, "x": {"type": "dense", "transform": "none"}})
    encoder = Encoder.fit(features, FakeRows({"v": [[1.0, 2.0]], "x": [9.0]}))
    block = encoder.encode(chunk({"v": pa.array([[1, 2], None, [3, 4]]), "x": [5.0, 6.0, 7.0]}))
    assert block.rows.view(np.float32).tolist() == [[1, 2, 5], [0, 0, 6], [3, 4, 7]]
    fixed = pa.array([[1.0, 2.0], None, [3.0, None]], pa.list_(pa.float32(), 2))
    assert encoder.encode(chunk({"v": fixed[1:], "x": [6.0, 7.0]})).rows.view(np.float32).tolist() == [
        [0, 0, 6],
        [3, 0, 7],
    ]
    with pytest.raises(DataError, match=r"train.csv, row 2: v has 3 numbers, and the spec says dim 2"):
        encoder.encode(chunk({"v": [[1.0, 2.0], [1.0, 2.0, 3.0]], "x": [1.0, 1.0]}))
    with pytest.raises(DataError, match="column v: a vector needs a list of numbers, not double"):
        encoder.encode(chunk({"v": [1.0], "x": [1.0]}))
