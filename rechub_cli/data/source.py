"""The files of a spec as one stream of rows: read, joined, filtered, always in the same order."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from rechub_cli.data.chunk import CHUNK_ROWS, Chunk, Rows
from rechub_cli.data.inputs import File, find_files
from rechub_cli.data.prefetch import prefetch
from rechub_cli.data.readers.parquet import Parquet
from rechub_cli.spec.model import Join

__all__ = ["CHUNK_ROWS", "Chunk", "Rows", "Source", "Stats"]


@dataclass
class Stats:
    """What reading met; counted anew at each pass."""

    rows_read: int = 0
    join_misses: dict[str, int] = field(default_factory=dict)


class Source:
    """Rows of one or more files; ``Source.open`` makes one."""

    def __init__(self, files: list[File]) -> None:
        self.files = files
        self.stats = Stats()
        self._reader = Parquet()

    @classmethod
    def open(
        cls,
        paths: Sequence[str],
        *,
        base: Path,
        format: str = "auto",
        joins: Sequence[Join] = (),
        filter: str | None = None,
        stdin: Any = None,
    ) -> Source:
        return cls(find_files(paths, base, Parquet.suffixes))

    @property
    def schema(self) -> pa.Schema:
        return self._reader.schema(self.files[0])

    def column_kinds(self) -> dict[str, str]:
        return {field.name: kind(field.type) for field in self.schema}

    def fingerprint(self) -> str:
        return hashlib.sha256(" ".join(file.fingerprint(True) for file in self.files).encode()).hexdigest()

    def count_rows(self) -> int | None:
        return sum(self._reader.count_rows(file) or 0 for file in self.files)

    def tables(self, columns: Sequence[str] | None = None, rows: int = CHUNK_ROWS) -> Iterator[Chunk]:
        self.stats = Stats()
        return prefetch(self._read(columns, rows))

    def _read(self, columns: Sequence[str] | None, rows: int) -> Iterator[Chunk]:
        names = self.schema.names if columns is None else list(columns)
        for file in self.files:
            first_row = 0
            for table in _coalesce(self._reader.batches(file, names, rows, self.schema), rows):
                self.stats.rows_read += table.num_rows
                yield Chunk(table.select(names), file.name, first_row)
                first_row += table.num_rows


def _coalesce(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.Table]:
    """Batches put together to tables of at most ``rows`` rows, none small but the last."""
    waiting: list[pa.RecordBatch] = []
    held = 0
    for batch in batches:
        while held + batch.num_rows > rows:
            waiting.append(batch.slice(0, rows - held))
            batch = batch.slice(rows - held)
            yield pa.Table.from_batches(waiting)
            waiting, held = [], 0
        if batch.num_rows:
            waiting.append(batch)
            held += batch.num_rows
    if waiting:
        yield pa.Table.from_batches(waiting)


def kind(type: pa.DataType) -> str:
    """The kind of a column's type, as ``spec.columns`` names kinds."""
    if pa.types.is_dictionary(type):
        return kind(type.value_type)
    for name, test in _KINDS.items():
        if test(type):
            return name
    return str(type)


_KINDS = {
    "integer": pa.types.is_integer,
    "float": lambda type: pa.types.is_floating(type) or pa.types.is_decimal(type),
    "string": lambda type: pa.types.is_string(type) or pa.types.is_large_string(type) or pa.types.is_string_view(type),
    "bool": pa.types.is_boolean,
    "list": lambda type: pa.types.is_list(type) or pa.types.is_large_list(type) or pa.types.is_fixed_size_list(type),
    "timestamp": pa.types.is_timestamp,
    "date": pa.types.is_date,
    "binary": lambda type: pa.types.is_binary(type) or pa.types.is_large_binary(type),
    "null": pa.types.is_null,
}
