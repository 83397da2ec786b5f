"""Tables as lines of CSV and JSON, column by column: Arrow does the work, not a loop over rows."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from rechub_cli.data.types import is_number, is_text, plain

_LIST_SEPARATOR = "|"  # that of the spec's sequences


def csv_lines(table: pa.Table, delimiter: str, header: bool) -> Iterator[Any]:
    """Bytes of CSV: cells quoted only where needed, null as an empty cell, lists joined by ``|``."""
    if header:
        names = pa.array(table.schema.names, pa.string())
        yield (delimiter.join(_quoted(names, delimiter).to_pylist()) + "\n").encode()
    if not table.num_rows:
        return
    cells = [pc.fill_null(_quoted(_as_text(column), delimiter), "") for column in _columns(table)]
    if len(cells) == 1:  # an empty line would be no row
        cells = [pc.if_else(pc.equal(cells[0], ""), '""', cells[0])]
    yield _joined(cells, delimiter)


def json_lines(table: pa.Table) -> Iterator[Any]:
    """Bytes of JSON, one object a line; what is not a finite number is null."""
    if not table.num_rows:
        return
    pieces: list[Any] = []
    for i, (name, column) in enumerate(zip(table.schema.names, _columns(table), strict=True)):
        pieces.append(("{" if i == 0 else ", ") + json.dumps(name, ensure_ascii=False) + ": ")
        pieces.append(pc.fill_null(_as_json(column), "null"))
    yield _joined([*pieces, "}"] if pieces else [pa.array(["{}"] * table.num_rows)], "")


def _columns(table: pa.Table) -> list[pa.Array]:
    flat = (column.cast(plain(column.type)) for column in table.columns)
    return [pa.concat_arrays(column.chunks) if column.num_chunks != 1 else column.chunk(0) for column in flat]


def _joined(pieces: list[Any], delimiter: str) -> Any:
    """The rows' text, one under the other, as a buffer: that of Arrow's own string column."""
    lines = pc.binary_join_element_wise(*pieces, delimiter) if len(pieces) > 1 else pieces[0]
    lines = pc.binary_join_element_wise(lines, "", "\n").cast(pa.large_string())
    offsets = lines.buffers()[1]
    if lines.offset:
        lines = pa.concat_arrays([lines])
    size = memoryview(offsets).cast("q")[len(lines)]
    return lines.buffers()[2].slice(0, size)


def _as_text(column: pa.Array) -> pa.Array:
    type = column.type
    if is_text(type):
        return column.cast(pa.string())
    if pa.types.is_list(type) or pa.types.is_large_list(type) or pa.types.is_fixed_size_list(type):
        return _lists(column, lambda values: pc.fill_null(_as_text(values), ""), _LIST_SEPARATOR)
    try:
        return column.cast(pa.string())
    except pa.ArrowException:
        return pa.array([None if value is None else str(value) for value in column.to_pylist()], pa.string())


def _lists(column: pa.Array, as_text: Callable[[pa.Array], pa.Array], separator: str) -> pa.Array:
    """Each list's values as text, joined; null stays null."""
    if not pa.types.is_large_list(column.type):
        column = column.cast(pa.large_list(column.type.value_type))
    values = as_text(column.flatten())
    lengths = pc.fill_null(pc.list_value_length(column), 0)
    offsets = pa.concat_arrays([pa.array([0], pa.int64()), pc.cumulative_sum(lengths.cast(pa.int64()))])
    joined = pc.binary_join(pa.LargeListArray.from_arrays(offsets, values), separator)
    return pc.if_else(column.is_valid(), joined, pa.scalar(None, pa.string()))


def _quoted(cells: pa.Array, delimiter: str) -> pa.Array:
    special = pc.match_substring_regex(cells, f'["\\r\\n{delimiter}]')
    if not pc.any(special).as_py():
        return cells
    doubled = pc.replace_substring(cells, '"', '""')
    return pc.if_else(special, pc.binary_join_element_wise('"', doubled, '"', ""), cells)


def _as_json(column: pa.Array) -> pa.Array:
    type = column.type
    if is_number(type):
        if pa.types.is_floating(type):
            column = pc.if_else(pc.is_finite(column), column, pa.scalar(None, type))
        return column.cast(pa.string())
    if pa.types.is_boolean(type):
        return column.cast(pa.string())
    if is_text(type) and not pc.any(pc.match_substring_regex(column, r'["\\\x00-\x1f]')).as_py():
        return pc.binary_join_element_wise('"', column.cast(pa.string()), '"', "")
    if pa.types.is_fixed_size_list(type) and is_number(type.value_type):
        inner = _lists(column, lambda values: pc.fill_null(_as_json(values), "null"), ", ")
        return pc.binary_join_element_wise("[", inner, "]", "")
    values = column.to_pylist()
    return pa.array([None if value is None else json.dumps(_clean(value), ensure_ascii=False) for value in values])


def _clean(value: Any) -> Any:
    """A value that JSON has."""
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, dict):
        return {str(key): _clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(item) for item in value]
    return value if isinstance(value, str | int | bool | None) else str(value)
