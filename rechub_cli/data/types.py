"""Column types: their kinds, and how two files' types become one."""

from __future__ import annotations

import pyarrow as pa


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
