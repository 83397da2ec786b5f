"""Ids of any Arrow type: one canonical type each, exact conversion between them, and a stable 64-bit hash.

An id means the same in every file: an integer is the same id in any width, an integral float is its integer, text is
the same in every string type. Nothing here depends on how a column was cut into chunks.
"""

from __future__ import annotations

import contextlib
import re
from datetime import date, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rechub_cli.errors import DataError

INT, UINT, FLOAT, BOOL = pa.int64(), pa.uint64(), pa.float64(), pa.bool_()
TEXT, BINARY, DATE, MOMENT = pa.large_string(), pa.large_binary(), pa.date32(), pa.timestamp("us")
CANONICAL = {str(kind): kind for kind in (INT, UINT, FLOAT, BOOL, TEXT, BINARY, DATE, MOMENT)}

_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,19}")
_EXACT = 2**53  # integers up to here are exact as float64


def whole(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    """The column as one array."""
    if isinstance(column, pa.Array):
        return column
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def canonical_type(kind: pa.DataType, column: str) -> pa.DataType:
    """The type in which ids of an Arrow type are compared; an all-null column counts as text.

    Raises:
        DataError: the type cannot be an id.
    """
    types = pa.types
    if types.is_dictionary(kind):
        return canonical_type(kind.value_type, column)
    if types.is_null(kind) or _is_text(kind):
        return TEXT
    if types.is_integer(kind):
        return UINT if kind == UINT else INT
    if types.is_boolean(kind):
        return BOOL
    if types.is_floating(kind):
        return FLOAT
    if types.is_date(kind):
        return DATE
    if types.is_timestamp(kind):
        return MOMENT
    if types.is_time(kind) or types.is_duration(kind):
        return INT
    if types.is_decimal(kind):  # 1.50 is 1.5; whole ones may have more digits than an integer
        return FLOAT if kind.scale > 0 else TEXT
    if (
        types.is_binary(kind)
        or types.is_large_binary(kind)
        or types.is_fixed_size_binary(kind)
        or kind == pa.binary_view()
    ):
        return BINARY
    raise DataError(f"column {column}: values of type {kind} cannot be ids; give integers, text, dates or booleans")


def canonical(values: pa.Array, column: str) -> pa.Array:
    """The values in their canonical type; NaN is null, -0.0 is 0."""
    kind, target = values.type, canonical_type(values.type, column)
    if kind == target and target != FLOAT:
        return values
    if pa.types.is_time(kind) or pa.types.is_duration(kind):
        return values.cast(pa.int32() if kind.bit_width == 32 else INT).cast(INT)
    values = values.cast(target, safe=False)
    if target == FLOAT:
        values = pc.if_else(pc.is_nan(values), pa.scalar(None, FLOAT), pc.add(values, 0.0))
    return values


def positions(column: pa.ChunkedArray | pa.Array, name: str) -> tuple[pa.Array, np.ndarray | None]:
    """Canonical values, and the place among them of each row: int32, -1 where null; None where row i has value i.

    The values of a dictionary column are its dictionaries as they stand: with repeats, nulls, and some that no row has.
    """
    if not pa.types.is_dictionary(column.type):
        return canonical(whole(column), name), None
    dictionaries, codes, n = [], [np.zeros(0, np.int32)], 0
    for chunk in column.chunks if isinstance(column, pa.ChunkedArray) else [column]:
        dictionary, places = chunk.dictionary, _codes(chunk)
        if len(dictionary) > len(chunk):  # a few rows of a row group come with the dictionary of all of it
            used = np.zeros(len(dictionary) + 1, bool)
            used[places] = True  # null sets the last one
            used[-1] = False
            places = np.where(used, np.cumsum(used, dtype=np.int32) - np.int32(1), np.int32(-1))[places]
            dictionary = dictionary.filter(pa.array(used[:-1]))
        if n:
            places[places >= 0] += n
        dictionaries.append(dictionary)
        codes.append(places)
        n += len(dictionary)
    if not dictionaries:
        return pa.array([], canonical_type(column.type, name)), codes[0]
    return canonical(pa.concat_arrays(dictionaries), name), np.concatenate(codes)


def distinct(column: pa.ChunkedArray | pa.Array, name: str) -> tuple[pa.Array, np.ndarray]:
    """Canonical values without repeats or nulls, and the place among them of each row, int32, -1 where null."""
    values, codes = positions(column, name)
    encoded = values.dictionary_encode()
    first = _codes(encoded)
    return encoded.dictionary, first if codes is None else np.append(first, np.int32(-1))[codes]


def tally(column: pa.ChunkedArray | pa.Array, name: str) -> tuple[pa.Array, np.ndarray]:
    """The canonical values that stand there and how often, int64; no null among them, but a value may come twice."""
    if pa.types.is_dictionary(column.type):
        values, codes = positions(column, name)
        assert codes is not None
        counts = np.bincount(codes[codes >= 0] if len(codes) and codes.min() < 0 else codes, minlength=len(values))
    else:
        counted = canonical(whole(column), name).value_counts()
        values, counts = counted.field(0), counted.field(1).to_numpy()
    unused = counts == 0
    if values.null_count:
        unused |= values.is_null().to_numpy(zero_copy_only=False)
    if unused.any():
        values, counts = values.filter(pa.array(~unused)), counts[~unused]
    return values, counts


def tally_days(
    column: pa.ChunkedArray | pa.Array, days: np.ndarray, name: str
) -> tuple[pa.Array, np.ndarray, str, np.ndarray]:
    """As ``tally``, with the name and the last day of each value, of int32 days for each row."""
    values, codes = distinct(column, name)
    there = codes >= 0
    codes = codes[there]
    last = np.full(len(values), -(2**31), np.int32)
    np.maximum.at(last, codes, days[there])
    counts = np.bincount(codes, minlength=len(values))
    return values.filter(pa.array(counts > 0)), counts[counts > 0], name, last[counts > 0]


def _codes(encoded: pa.DictionaryArray) -> np.ndarray:
    """int32 indices, a copy; -1 where null."""
    indices = encoded.indices
    if not len(indices):
        return np.empty(0, np.int32)
    valid, data = indices.buffers()
    there = slice(indices.offset, indices.offset + len(indices))
    codes = np.frombuffer(data, indices.type.to_pandas_dtype())[there].astype(np.int32)
    if indices.null_count:
        known = np.unpackbits(np.frombuffer(valid, np.uint8), count=there.stop, bitorder="little")[there]
        codes |= (known - np.uint8(1)).view(np.int8)  # all bits of what is null
    return codes


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or kind == pa.string_view()


def convert(values: pa.Array, target: pa.DataType, column: str) -> pa.Array:
    """Canonical values as another canonical type; null where a value has no exact counterpart there.

    Raises:
        DataError: the two types have nothing in common (a date where numbers were).
    """
    kind = values.type
    if kind == target or len(values) == 0:
        return values.cast(target) if kind == target else pa.nulls(len(values), target)
    numbers = (INT, UINT, FLOAT, BOOL)
    if kind in numbers and target in numbers:
        return _between_numbers(values, target)
    if target == TEXT and kind in (INT, UINT, BOOL, DATE):
        return values.cast(TEXT)
    if target == TEXT and kind == FLOAT:
        integers = _between_numbers(values, INT)
        return pc.coalesce(integers.cast(TEXT), values.cast(TEXT))
    if {kind, target} == {DATE, MOMENT}:
        there = values.cast(target, safe=False)
        return pc.if_else(pc.equal(there.cast(kind, safe=False), values), there, pa.scalar(None, target))
    if {kind, target} == {TEXT, BINARY} or (
        kind in (TEXT, MOMENT) and target != BINARY and not (kind == MOMENT and target in numbers)
    ):
        if target == MOMENT:
            with contextlib.suppress(pa.ArrowInvalid):  # a value with a zone, or none at all: one by one then
                return values.cast(MOMENT)
        return pa.array([_parse(value, target) for value in _python(values)], target)
    raise DataError(f"column {column} was {target} when the encoder was fitted and is {kind} here; give the same type")


def _between_numbers(values: pa.Array, target: pa.DataType) -> pa.Array:
    """Null where the number does not exist in the target type."""
    numbers = values.cast(INT) if values.type == BOOL else values
    none = pa.scalar(None, numbers.type)
    if target == BOOL:
        inside = pc.or_(pc.equal(numbers, pa.scalar(0, numbers.type)), pc.equal(numbers, pa.scalar(1, numbers.type)))
    elif target == FLOAT:
        inside = pc.less_equal(numbers, pa.scalar(_EXACT, numbers.type))
        if numbers.type == INT:
            inside = pc.and_(inside, pc.greater_equal(numbers, pa.scalar(-_EXACT, INT)))
    elif numbers.type == FLOAT:
        low, high = (-(2.0**63), 2.0**63) if target == INT else (0.0, 2.0**64)
        inside = pc.and_(
            pc.equal(pc.floor(numbers), numbers), pc.and_(pc.greater_equal(numbers, low), pc.less(numbers, high))
        )
    elif target == UINT:
        inside = pc.greater_equal(numbers, pa.scalar(0, INT))
    else:
        inside = pc.less(numbers, pa.scalar(2**63, UINT)) if numbers.type == UINT else pa.scalar(True)
    return pc.if_else(inside, numbers, none).cast(target, safe=target != BOOL)


def _python(values: pa.Array) -> list[Any]:
    """The values as Python has them; None for a moment before its first year or after its last."""
    try:
        return values.to_pylist()  # type: ignore[no-any-return, unused-ignore]
    except (OverflowError, ValueError):
        found = []
        for value in values:
            try:
                found.append(value.as_py())
            except (OverflowError, ValueError):
                found.append(None)
        return found


def _parse(value: object, target: pa.DataType) -> object:
    """One text, bytes or moment as a value of the target type, or None."""
    try:
        if isinstance(value, bytes):
            return value.decode()
        if isinstance(value, datetime):
            return value.isoformat(sep=" ")
        if not isinstance(value, str):
            return None
        if target == BINARY:
            return value.encode()
        if target == DATE:
            return date.fromisoformat(value)
        if target == MOMENT:
            return datetime.fromisoformat(value)
        if target == BOOL:
            return {"true": True, "1": True, "false": False, "0": False}.get(value.lower())
        if target == FLOAT:
            number = float(value)
            return number if number == number else None
        if not _INTEGER.fullmatch(value):
            return None
        low, high = (0, 2**64) if target == UINT else (-(2**63), 2**63)
        return int(value) if low <= int(value) < high else None
    except ValueError:
        return None


def mix(numbers: np.ndarray) -> np.ndarray:
    """splitmix64's finaliser: uint64 -> uint64, one to one."""
    numbers = numbers + np.uint64(0x9E3779B97F4A7C15)
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))


def stable_hash(values: pa.Array) -> np.ndarray:
    """uint64 per canonical value, the same on every machine and in every version; 5.0 hashes as 5.

    Numbers and moments are hashed one to one. Text is a sum of its bytes, each times a pseudo-random number of its
    place (multilinear hashing, Lemire and Kaser 2014), mixed with its length.
    """
    kind = values.type
    if kind in (TEXT, BINARY):
        return _hash_bytes(values)
    if kind == FLOAT:
        floats = values.fill_null(0.0).to_numpy(zero_copy_only=False)
        whole_number = (np.floor(floats) == floats) & (np.abs(floats) < 2.0**63)
        return mix(
            np.where(whole_number, np.where(whole_number, floats, 0).astype(np.int64), floats.view(np.int64)).view(
                np.uint64
            )
        )
    if kind == BOOL:
        values = values.cast(INT)
    elif kind == DATE:
        values = values.cast(pa.int32()).cast(INT)
    elif kind == MOMENT:
        values = values.cast(INT)
    return mix(values.fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64, copy=False).view(np.uint64))


def _hash_bytes(values: pa.Array) -> np.ndarray:
    if len(values) == 0:
        return np.empty(0, np.uint64)
    _, offset_buffer, data = values.buffers()
    offsets = np.frombuffer(offset_buffer, np.int64)[values.offset : values.offset + len(values) + 1]
    lengths = np.diff(offsets)
    out = mix(lengths.astype(np.uint64))
    if data is None or offsets[-1] == offsets[0]:
        return out
    data = np.frombuffer(data, np.uint8)
    places = mix(np.arange(int(lengths.max()), dtype=np.uint64))
    step = 1 << 16
    for start in range(0, len(values), step):  # in pieces: the bytes become eight times as large
        piece = lengths[start : start + step]
        low, high = offsets[start], offsets[start + len(piece)]
        if low == high:
            continue
        starts = offsets[start : start + len(piece)] - low
        place = np.arange(high - low) - np.repeat(starts, piece)
        terms = (data[low:high].astype(np.uint64) + np.uint64(1)) * places[place]
        filled = piece > 0
        out[start : start + len(piece)][filled] += np.add.reduceat(terms, starts[filled])
    return mix(out)
