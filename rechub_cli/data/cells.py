"""Cells that hold more than one value: lists, delimited text, and moments with their parts."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rechub_cli.data import ids
from rechub_cli.data.block import gather
from rechub_cli.errors import DataError

PARTS = {"minute": 60, "hour": 24, "weekday": 7, "day": 31, "week": 53, "month": 12}  # year and date have no bound


def sequence(
    column: pa.ChunkedArray | pa.Array, separator: str, max_len: int, name: str
) -> tuple[pa.Array, np.ndarray]:
    """The values of all rows, newest ``max_len`` of each, and int64 (n,) lengths; a null or empty cell has none.

    Text is split at the separator; an empty piece of text counts as a null value.
    """
    cells = ids.whole(column)
    if pa.types.is_dictionary(cells.type):
        cells = cells.dictionary_decode()
    if pa.types.is_null(cells.type):
        return pa.array([], ids.TEXT), np.zeros(len(cells), np.int64)
    if not _is_list(cells.type):
        cells = _split(cells, separator, name)
    lengths = pc.list_value_length(cells).fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    values = cells.flatten()  # skips null cells
    if len(lengths) and lengths.max() > max_len:
        stops = np.cumsum(lengths)
        lengths = np.minimum(lengths, max_len)
        values = values.take(pa.array(gather(np.arange(stops[-1]), stops - lengths, lengths)))
    if pa.types.is_nested(values.type):
        raise DataError(f"column {name}: a sequence needs a list of ids, not {cells.type}")
    return values, lengths


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def _split(cells: pa.Array, separator: str, name: str) -> pa.Array:
    if ids.canonical_type(cells.type, name) != ids.TEXT:  # one number in a cell: a sequence of one
        cells = ids.convert(ids.canonical(cells, name), ids.TEXT, name)
    cells = pc.utf8_trim_whitespace(cells.cast(ids.TEXT))
    cells = pc.if_else(pc.equal(cells, ""), pa.scalar(None, ids.TEXT), cells)
    split = pc.utf8_split_whitespace(cells) if separator == " " else pc.split_pattern(cells, separator)
    pieces = pc.utf8_trim_whitespace(split.values)
    pieces = pc.if_else(pc.equal(pieces, ""), pa.scalar(None, pieces.type), pieces)
    rebuilt = pa.ListArray if pa.types.is_list(split.type) else pa.LargeListArray
    return rebuilt.from_arrays(split.offsets, pieces, mask=split.is_null()) if len(split) else split


def moments(column: pa.ChunkedArray | pa.Array, unit: str, name: str) -> tuple[pa.Array, int | None]:
    """The column as timestamps, and the first row that is no moment, if any.

    Integers count units since 1970 UTC; text is ISO 8601; a moment with a zone gives its own wall-clock parts.

    Raises:
        DataError: nobody knows the zone of the moments.
    """
    values = ids.whole(column)
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    kind = values.type
    if pa.types.is_timestamp(kind):
        try:
            pc.hour(pa.array([0]).cast(kind))  # does anybody know its zone?
        except pa.ArrowException as error:
            raise DataError(f"column {name}: {error}; write its moments in UTC, or without a zone") from error
        return values, None
    if pa.types.is_date(kind):
        return values.cast(pa.timestamp("ms")), None
    if pa.types.is_null(kind):
        return values.cast(pa.timestamp("s")), None
    if pa.types.is_float16(kind):  # which has no kernels
        values, kind = values.cast(pa.float32()), pa.float32()
    if pa.types.is_floating(kind):
        values = pc.floor(pc.if_else(pc.is_finite(values), values, pa.scalar(None, kind))).cast(ids.INT, safe=False)
    if pa.types.is_integer(values.type):
        return values.cast(ids.INT, safe=False).cast(pa.timestamp(unit)), None
    parsed = ids.convert(ids.canonical(values, name), ids.MOMENT, name)
    bad = np.flatnonzero(
        (parsed.is_null().to_numpy(zero_copy_only=False)) & values.is_valid().to_numpy(zero_copy_only=False)
    )
    return parsed, int(bad[0]) if len(bad) else None


def part(values: pa.Array, which: str) -> pa.Array:
    """One part of each moment: int64 from 0 (year: as it is), or a date."""
    if which == "date":
        return (
            values.cast(pa.timestamp(values.type.unit)).cast(pa.date32(), safe=False)
            if not values.type.tz
            else (pc.local_timestamp(values).cast(pa.date32(), safe=False))
        )
    if which == "weekday":
        return pc.day_of_week(values)  # Monday is 0
    function = {
        "minute": pc.minute,
        "hour": pc.hour,
        "day": pc.day,
        "week": pc.iso_week,
        "month": pc.month,
        "year": pc.year,
    }
    out = function[which](values)
    return pc.subtract(out, 1) if which in ("day", "week", "month") else out
