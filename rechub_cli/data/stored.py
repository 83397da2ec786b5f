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
    try:
        with pa.OSFile(str(path), "rb") as raw, pq.ParquetFile(raw) as file:
            _check_size(file, raw.size())
            missing = [name for name in columns or () if name not in file.schema_arrow.names]
            if missing:
                raise KeyError(f"there is no column {missing[0]}")
            return file.read(columns=None if columns is None else list(columns))
    except RuntimeError as error:  # so Arrow tells of some footers
        raise ValueError(str(error)) from error


def _check_size(file: pq.ParquetFile, size: int) -> None:
    facts = file.metadata
    groups = [facts.row_group(i) for i in range(facts.num_row_groups)]
    values, unpacked = facts.num_rows * facts.num_columns, sum(group.total_byte_size for group in groups)
    if any(pa.types.is_nested(field.type) for field in file.schema_arrow):  # a row may hold any number of values
        # Asked for the facts of some damaged columns Arrow ends the process; a scan, in little memory, only fails.
        file.scan_contents()
        values = sum(group.column(i).num_values for group in groups for i in range(group.num_columns))
    if max(values, unpacked // 16) > _FREE + _MOST_PER_BYTE * size:
        raise ValueError(f"{size:,} bytes that claim to hold {values:,} values, {unpacked:,} bytes unpacked")
