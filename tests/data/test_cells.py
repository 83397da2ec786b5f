"""Cells that hold more than one value: sequences and moments."""

from __future__ import annotations

import datetime
from typing import Any

import pyarrow as pa
import pytest
from fake_rows import FakeRows, chunk, spec

from rechub_cli.data import cells
from rechub_cli.data.encoder import Encoder
from rechub_cli.errors import DataError


@pytest.mark.parametrize(
    "column",
    [
        [["a", "b", "c"], [], None, ["b", None]],
        pa.array([["a", "b", "c"], [], None, ["b", None]], pa.large_list(pa.string())),
        ["a|b|c", "", None, "b|"],
        ["a | b|c", " ", None, "b| "],
        pa.array(["a|b|c", "", None, "b|"]).dictionary_encode(),
    ],
)
def test_sequences_keep_the_newest_values_of_lists_and_delimited_text(column: Any) -> None:
    encoder = Encoder.fit(spec({"h": {"type": "sequence", "max_len": 2}}), FakeRows({"h": column}))
    block = encoder.encode(chunk({"h": column}))
    assert block.rows[:, 0].tolist() == [2, 0, 0, 2]
    assert block.values["h"].tolist() == [3, 4, 3, 1]  # b c, b null; a is never kept
    assert block.missing == {"h": 1}
    assert encoder.encode(chunk({"h": column}).select(["h"])).rows.tolist() == block.rows.tolist()


def test_sequences_of_numbers_sliced_lists_and_fixed_size_lists() -> None:
    feature = spec({"h": {"type": "sequence"}})
    lists = pa.array([[9], [1, 1], [2]])[1:]
    encoder = Encoder.fit(feature, FakeRows({"h": lists}))
    assert encoder.encode(chunk({"h": lists})).values["h"].tolist() == [3, 3, 4]
    assert encoder.encode(chunk({"h": pa.array([[1, 2], None], pa.list_(pa.int32(), 2))})).values["h"].tolist() == [
        3,
        4,
    ]
    assert encoder.encode(chunk({"h": [1, 2]})).values["h"].tolist() == [3, 4]  # a CSV whose cells hold one id each
    assert encoder.encode(chunk({"h": ["1|2", None]})).values["h"].tolist() == [3, 4]


def test_parts_of_a_moment_have_ids_of_their_own() -> None:
    parts = ["minute", "hour", "weekday", "day", "week", "month", "year", "date"]
    features = {"ts": {"type": "datetime", "parts": parts}}
    moments = [datetime.datetime(2026, 1, 1, 23, 59), None]  # a Thursday of the first ISO week
    encoder = Encoder.fit(spec(features), FakeRows({"ts": moments}))
    rows = encoder.encode(chunk({"ts": moments})).rows.tolist()
    assert rows == [[3 + 59, 3 + 23, 3 + 3, 3, 3, 3, 3, 3], [1] * 8]
    assert [feature.name for feature in encoder.schema.sparse] == [f"ts.{part}" for part in parts]
    assert encoder.encode(chunk({"ts": ["2026-01-01 23:59:00", None]})).rows.tolist() == rows
    assert encoder.encode(chunk({"ts": [1767311940, None]})).rows.tolist() == rows
    assert encoder.encode(chunk({"ts": [1767311940.0, float("nan")]})).rows.tolist() == rows
    last = encoder.encode(chunk({"ts": [datetime.datetime(2020, 12, 31)]})).rows[0]  # week 53, day 31
    assert (last < [feature.vocab_size for feature in encoder.schema.sparse]).all()
    with pytest.raises(DataError, match=r"train.csv, row 2: ts is noon, which is no moment"):
        encoder.encode(chunk({"ts": ["2026-01-01", "noon"]}))


def test_blanks_part_words_however_many_there_are() -> None:
    encoder = Encoder.fit(spec({"h": {"type": "sequence", "separator": " "}}), FakeRows({"h": ["a  b ", " ", "b"]}))
    block = encoder.encode(chunk({"h": [" b   a"]}))
    assert block.values["h"].tolist() == [3, 4]


def test_moments_of_half_floats_are_numbers_and_an_unknown_zone_is_told() -> None:
    values, bad = cells.moments(pa.array([0.0, 3.5, None]).cast(pa.float16()), "s", "ts")
    assert (values.cast(pa.int64()).to_pylist(), bad) == ([0, 3, None], None)
    nowhere = pa.array([0]).cast(pa.timestamp("s", "Nowhere/Land"))
    with pytest.raises(DataError, match=r"column ts: .*; write its moments in UTC, or without a zone"):
        cells.moments(nowhere, "s", "ts")
