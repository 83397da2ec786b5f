"""What columns of text hold, and their text as values of a type."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from rechub_cli.data.types import is_number, is_text

EMPTY = {"", "NA", "N/A", "n/a", "NULL", "Null", "null", "NaN", "nan", "None", "\\N", "#N/A", "-", "?"}

_EXACT = 2**53  # integers up to here are exact as float64


class Guess:
    """What a column of text holds, from all its values: whole numbers, numbers, booleans, dates, moments or text.

    A number is one only if its text can be had back from it or nothing is lost that matters: ``007``, ``+5``, ``0x1f``
    and whole numbers too long for 64 bits stay text, so that ids never melt into each other.
    """

    def __init__(self) -> None:
        self.type: pa.DataType = pa.null()
        self._long = False  # met a whole number that is not exact as a float

    def see(self, values: pa.Array) -> None:
        """Take more values (strings) into account."""
        if pa.types.is_string(self.type) or values.null_count == len(values):
            return
        for blanks in (False, True):
            given = tidy(values) if blanks else values
            for candidate in self._candidates():
                if self._holds(given, candidate):
                    self.type = self.type if given.null_count == len(given) else candidate
                    return
        self.type = pa.string()

    def _candidates(self) -> list[pa.DataType]:
        if pa.types.is_null(self.type):
            return [pa.int64(), pa.float64(), pa.bool_(), pa.date32(), *_MOMENTS]
        if pa.types.is_int64(self.type):
            return [pa.int64(), pa.float64()]
        if pa.types.is_date32(self.type):
            return [pa.date32(), _MOMENTS[0]]
        return [self.type]

    def _holds(self, values: pa.Array, type: pa.DataType) -> bool:
        there = _cast(values, type)
        if there is None:
            return False
        if not is_number(type):
            return True
        odd = pc.and_(pc.starts_with(values, "0"), pc.greater(pc.binary_length(values), 1))
        if pa.types.is_floating(type):
            odd = pc.and_(odd, pc.invert(pc.starts_with(values, "0.")))
        odd = pc.or_(odd, pc.match_substring_regex(values, "^(-0[0-9x]|[+]|-?0x)") if _any(_signed(values)) else odd)
        if _any(odd):
            return False
        if pa.types.is_int64(type):
            self._long = self._long or _any(pc.greater_equal(pc.abs(pc.fill_null(there, 0)), _EXACT))
            return True
        if pa.types.is_int64(self.type) and self._long:
            return False
        long = values.filter(pc.greater_equal(pc.binary_length(values), 16))
        return not _any(pc.match_substring_regex(long, "^-?[0-9]+$"))


_MOMENTS = [pa.timestamp("us"), pa.timestamp("us", "UTC")]


def _any(mask: pa.Array) -> bool:
    return bool(pc.any(mask).as_py())


def _signed(values: pa.Array) -> pa.Array:
    return pc.or_(pc.starts_with(values, "-0"), pc.starts_with(values, "+"))


def tidy(values: pa.Array) -> pa.Array:
    """Text without blanks at its ends; words that mean "nothing here" become null."""
    trimmed = pc.utf8_trim_whitespace(values)
    return pc.if_else(pc.is_in(trimmed, pa.array(sorted(EMPTY))), pa.scalar(None, trimmed.type), trimmed)


class Unreadable(Exception):
    """``row`` of the values has a ``text`` that is no value of the type."""

    def __init__(self, row: int, text: str) -> None:
        super().__init__(row, text)
        self.row, self.text = row, text


def parse(values: pa.Array, type: pa.DataType) -> pa.Array:
    """Text as values of a type.

    Raises:
        Unreadable: with the first row that has no such value.
    """
    if is_text(type):
        return values.cast(type)
    if pa.types.is_null(type):
        return pa.nulls(len(values))
    parsed = _cast(values, type)
    if parsed is None:
        values = tidy(values)
        parsed = _cast(values, type)
    if parsed is None:
        raise _first_bad(values, type)
    if pa.types.is_floating(type):  # the text nan is no value
        return pc.if_else(pc.is_nan(parsed), pa.scalar(None, type), parsed)
    return parsed


def _cast(values: pa.Array, type: pa.DataType) -> pa.Array | None:
    """The values as another type; None if one has no such value: found out on a few, since each costs much."""
    try:
        for size in (64, 4096):
            values.slice(0, size).cast(type)
        return values.cast(type)
    except pa.ArrowInvalid:
        return None


def _first_bad(values: pa.Array, type: pa.DataType) -> Unreadable:
    low, size = 0, 1024
    while size:
        try:
            values.slice(low, size).cast(type)
            low += size
        except pa.ArrowInvalid:
            size //= 2
    return Unreadable(low, str(values[low].as_py()))
