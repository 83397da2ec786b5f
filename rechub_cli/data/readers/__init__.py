"""Readers of file formats: one plugin a file, found by name or by a file's suffix."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import pyarrow as pa

from rechub_cli.data.inputs import File


class Reader(Protocol):
    """Reads one format. Errors of the data are DataErrors that name file and row.

    Attributes:
        suffixes: of file names, with the dot, in lower case; that of a compression is not among them.
        seekable: rows can be streamed again and again at little cost (Parquet, Arrow), not parsed from text.
        untyped: cells are text in the file, so that any column can be had as text.
    """

    suffixes: tuple[str, ...]
    seekable: bool
    untyped: bool

    def schema(self, file: File) -> pa.Schema:
        """Names and types, from the footer, the header or the first block: quick, of guessed types where text is."""

    def scan(self, file: File, types: Mapping[str, pa.DataType] | None = None) -> pa.Schema:
        """Names, and types that hold for every row. With ``types`` (of some columns) nothing but a head is read."""

    def count_rows(self, file: File) -> int | None:
        """The number of rows, if it can be told without reading them."""

    def batches(self, file: File, columns: Sequence[str], rows: int, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        """The columns, in the file's order of rows, ``rows`` at a time where the format leaves the choice.

        ``schema`` is that of ``scan``, types possibly widened over several files: text is parsed as these types.
        """
