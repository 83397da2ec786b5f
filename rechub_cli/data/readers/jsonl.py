"""JSON Lines: one object a line."""

from __future__ import annotations

import codecs
import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

import pyarrow as pa
import pyarrow.json as pajson

from rechub_cli.data.inputs import File
from rechub_cli.data.types import is_number, is_text, unify
from rechub_cli.errors import DataError, NoInput

_BLOCK = 1 << 23  # bytes parsed at a time
_LONGEST = 1 << 26  # bytes of one line


class JSONL:
    """JSON Lines: keys become columns; a key that a line lacks is null there."""

    suffixes = (".jsonl", ".ndjson", ".json")
    seekable = False
    untyped = False

    def schema(self, file: File) -> pa.Schema:
        """Keys and types of the first megabyte."""
        return _types(file, [file.head().removeprefix(codecs.BOM_UTF8)])

    def scan(self, file: File, types: Mapping[str, pa.DataType] | None = None) -> pa.Schema:
        """Keys and types of the whole file; with ``types``, of the first megabyte, widened and completed by them."""
        if types is None:
            return _types(file, _blocks(file))
        found = {field.name: field.type for field in self.schema(file)}
        for name, type in types.items():
            here = found.setdefault(name, type)
            looks_like_a_moment = pa.types.is_timestamp(here) and is_text(type)
            if _is_empty(here) or looks_like_a_moment or (is_number(here) and is_number(type)):
                found[name] = type
        return pa.schema(list(found.items()))

    def count_rows(self, file: File) -> int | None:
        return None

    def batches(self, file: File, columns: Sequence[str], rows: int, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        wanted = pa.schema([schema.field(name) for name in columns])
        first_row = 0
        for block in _blocks(file):
            table = _parse(file, block, first_row, wanted)
            yield from table.select(list(columns)).to_batches()
            first_row += table.num_rows


def _types(file: File, blocks: Iterable[bytes]) -> pa.Schema:
    types: dict[str, pa.DataType] = {}
    first_row = 0
    for block in blocks:
        table = _parse(file, block, first_row, None)
        for field in table.schema:
            before = types.get(field.name, field.type)
            type = unify(before, field.type)
            if type is None and pa.types.is_timestamp(before) and is_text(field.type):
                type = field.type  # text that looked like a moment until here
            elif type is None and pa.types.is_timestamp(field.type) and is_text(before):
                type = before
            if type is None:
                where = f"{file.name}, from row {first_row + 1} on"
                raise DataError(f"{where}: column {field.name} holds {field.type}, and {before} before")
            types[field.name] = type
        first_row += table.num_rows
    if not first_row:
        raise NoInput(f"{file.name} is empty")
    return pa.schema(list(types.items()))


def _blocks(file: File) -> Iterator[bytes]:
    """Whole lines, some megabytes at a time."""
    rest = b""
    try:
        with file.stream() as stream:
            rest = stream.read(len(codecs.BOM_UTF8)).removeprefix(codecs.BOM_UTF8)
            while data := stream.read(_BLOCK):
                end = data.rfind(b"\n") + 1
                if end:
                    yield rest + data[:end]
                    rest = data[end:]
                else:
                    rest += data
                    if len(rest) > _LONGEST:
                        raise DataError(f"{file.name}: a line is longer than {_LONGEST >> 20} MiB, an object's most")
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{file.name}: {error}") from error
    if rest.strip():
        yield rest


def _parse(file: File, block: bytes, first_row: int, schema: pa.Schema | None) -> pa.Table:
    if not block.strip():
        return pa.table({}) if schema is None else schema.empty_table()
    options = pajson.ParseOptions(
        explicit_schema=schema,
        newlines_in_values=False,
        unexpected_field_behavior="infer" if schema is None else "ignore",
    )
    reading = pajson.ReadOptions(block_size=len(block) + 1)
    try:
        table = pajson.read_json(pa.BufferReader(block), read_options=reading, parse_options=options)
        large = [field.with_type(pa.uint64()) for field in table.schema if _is_large(table.column(field.name))]
        if schema is None and large:
            with contextlib.suppress(pa.ArrowException):  # ids beyond 2**63 would be rounded as floats
                options.explicit_schema = pa.schema(large)
                return pajson.read_json(pa.BufferReader(block), read_options=reading, parse_options=options)
        return table
    except (pa.ArrowException, UnicodeDecodeError) as error:
        row = re.search(r"in row (\d+)", str(error))
        where = f"{file.name}, row {first_row + int(row[1]) + 1}" if row else file.name
        hint = "; one object a line is needed" if block.lstrip().startswith(b"[") else ""
        raise DataError(f"{where}: {error}{hint}") from error


def _is_empty(type: pa.DataType) -> bool:
    """No value was met: null, or a list of nothing."""
    return pa.types.is_null(type.value_type if pa.types.is_list(type) else type)


def _is_large(column: pa.ChunkedArray) -> bool:
    import pyarrow.compute as pc

    return pa.types.is_floating(column.type) and bool(pc.any(pc.greater_equal(column, 2.0**63)).as_py())
