"""Rows on their way from files to the encoder: chunks of an Arrow table that know where they come from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import pyarrow as pa

CHUNK_ROWS = 262_144


@dataclass(frozen=True, slots=True)
class Chunk:
    """Rows of one file, in file order.

    Attributes:
        table: the rows.
        file: the file's name, as messages show it.
        first_row: number of the file's rows (0 for the first) at which this chunk starts.
        kept: for each row of ``table`` its offset from ``first_row``, rising; None where no row was left out.
    """

    table: pa.Table
    file: str
    first_row: int
    kept: np.ndarray | None = None

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def locate(self, i: int) -> str:
        """Where row ``i`` of the table stands, for a message: ``train.csv, row 17`` counts data rows from 1."""
        offset = i if self.kept is None else int(self.kept[i])
        return f"{self.file}, row {self.first_row + offset + 1}"

    def take(self, mask: np.ndarray) -> Chunk:
        """The rows where ``mask`` (bool, one a row) holds."""
        rows = np.flatnonzero(mask)
        if len(rows) == len(self):
            return self
        kept = rows if self.kept is None else self.kept[rows]
        return replace(self, table=self.table.filter(pa.array(mask)), kept=kept)

    def select(self, columns: Sequence[str]) -> Chunk:
        """The same rows with fewer columns."""
        return replace(self, table=self.table.select(list(columns)))


class Rows(Protocol):
    """Rows that can be read again and again in the same order: a Source, or one part of a split."""

    @property
    def schema(self) -> pa.Schema:
        """Names and types of all columns, for the whole of the rows."""

    def fingerprint(self) -> str:
        """A hash that changes when the rows do."""

    def count_rows(self) -> int | None:
        """How many rows there are, where that is known without reading them."""

    def tables(self, columns: Sequence[str] | None = None, rows: int = CHUNK_ROWS) -> Iterator[Chunk]:
        """The rows in chunks of at most ``rows``; ``columns`` (None: all) come in the order asked for."""
