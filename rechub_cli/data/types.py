"""Column types: their kinds, how two files' types become one, and what columns of text hold."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

EMPTY = {"", "NA", "N/A", "n/a", "NULL", "Null", "null", "NaN", "nan", "None", "\\N", "#N/A", "-", "?"}

_EXACT = 2**53  # integers up to here are exact as float64


def plain(type: pa.DataType) -> pa.DataType:
    """The type of a dictionary column's values; any other type as it is."""
    return type.value_type if pa.types.is_dictionary(type) else type


def handled(type: pa.DataType) -> pa.DataType:
    """The type in which a column of this type is read: views as what they view, a UUID as its text."""
    if type == pa.string_view() or type == pa.uuid():
        return pa.large_string()
    return pa.large_binary() if type == pa.binary_view() else type


def cast(column: pa.ChunkedArray, type: pa.DataType) -> pa.ChunkedArray:
    """Raises ArrowException where a value does not fit."""
    if column.type != pa.uuid() or type != pa.large_string():
        return column if column.type == type else column.cast(type)
    texts = [None if value is None else str(value) for value in column.to_pylist()]
    return pa.chunked_array([pa.array(texts, type)])


def is_text(type: pa.DataType) -> bool:
    type = plain(type)
    return pa.types.is_string(type) or pa.types.is_large_string(type) or pa.types.is_string_view(type)


def is_number(type: pa.DataType) -> bool:
    return pa.types.is_integer(type) or pa.types.is_floating(type) or pa.types.is_decimal(type)


def kind(type: pa.DataType) -> str:
    """The kind of a column's type, as ``spec.columns`` names kinds; another type's own name."""
    type = plain(type)
    if is_text(type):
        return "string"
    for name, tests in _KINDS.items():
        if any(test(type) for test in tests):
            return name
    return str(type)


_KINDS = {
    "integer": (pa.types.is_integer,),
    "float": (pa.types.is_floating, pa.types.is_decimal),
    "bool": (pa.types.is_boolean,),
    "list": (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list),
    "timestamp": (pa.types.is_timestamp,),
    "date": (pa.types.is_date,),
    "binary": (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary),
}


def unify(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """A type that holds the values of both exactly, or None: int32 and int64 unify, numbers and text do not."""
    if one == other:
        return one
    one, other = plain(one), plain(other)
    if is_text(one) and is_text(other):
        return (
            pa.string() if pa.string() in (one, other) and pa.large_string() not in (one, other) else pa.large_string()
        )
    schemas = [pa.schema([pa.field("", type)]) for type in (one, other)]
    try:
        return pa.unify_schemas(schemas, promote_options="permissive").field(0).type
    except pa.ArrowException:
        return None


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
