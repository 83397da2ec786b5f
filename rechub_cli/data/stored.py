"""Parquet files that a run or an export keeps, read whole."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

_FREE = 1 << 24  # values, and bytes, that any file may hold
_MOST_PER_BYTE = 64  # of a larger one: ids hardly repeat, so what we write comes to a few


def read_stored(path: Path | str, columns: Sequence[str] | None = None) -> pa.Table:
    """The table of a file, which may be anybody's: one that would fill the memory is not unpacked.

    Raises:
        OSError, KeyError, ArrowException: it cannot be read, or lacks a column.
        ValueError: it holds far more than its size can explain.
    """
    with pa.OSFile(str(path), "rb") as raw, pq.ParquetFile(raw) as file:
        most = _FREE + _MOST_PER_BYTE * raw.size()
        groups = [file.metadata.row_group(i) for i in range(file.num_row_groups)]
        chunks = [group.column(i) for group in groups for i in range(group.num_columns)]
        values, size = sum(one.num_values for one in chunks), sum(one.total_uncompressed_size for one in chunks)
        if max(values, size // 16, file.metadata.num_rows) > most:
            raise ValueError(f"{raw.size():,} bytes that claim to hold {values:,} values, {size:,} bytes unpacked")
        if columns is not None:
            missing = [name for name in columns if name not in file.schema_arrow.names]
            if missing:
                raise KeyError(f"there is no column {missing[0]}")
        return file.read(columns=None if columns is None else list(columns))
