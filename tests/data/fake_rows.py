"""Rows in memory, cut into chunks at will."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from rechub_cli.data.chunk import Chunk
from rechub_cli.spec.model import Spec


class FakeRows:
    def __init__(self, table: pa.Table | dict[str, Any], chunk_rows: int = 262_144, file: str = "train.csv") -> None:
        self.table = table if isinstance(table, pa.Table) else pa.table(table)
        self.chunk_rows, self.file = chunk_rows, file
        self.schema = self.table.schema

    def fingerprint(self) -> str:
        return hashlib.sha256(repr(self.table.to_pydict()).encode()).hexdigest()

    def count_rows(self) -> int | None:
        return int(self.table.num_rows)

    def tables(self, columns: Sequence[str] | None = None, rows: int = 262_144) -> Iterator[Chunk]:
        table = self.table if columns is None else self.table.select(list(columns))
        step = min(rows, self.chunk_rows)
        for start in range(0, table.num_rows, step):
            yield Chunk(table.slice(start, step), self.file, start)


def chunk(table: pa.Table | dict[str, Any]) -> Chunk:
    return next(FakeRows(table).tables())


def spec(features: dict[str, Any], **rest: Any) -> Spec:
    return Spec.model_validate({"features": features, "model": {"name": "lr"}, **rest})
