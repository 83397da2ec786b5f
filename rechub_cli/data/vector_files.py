"""Vectors as ``vectors`` wrote them, read back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from rechub_cli.data.stored import read_stored
from rechub_cli.data.vectors import ids_beside, matrix
from rechub_cli.errors import DataError, NoInput, UsageError


def read_vectors(path: Path, id_column: str) -> tuple[pa.ChunkedArray, np.ndarray]:
    """Ids (n,) and vectors float32 (n, d) of what ``open_vectors`` wrote: Parquet, shards of it, Arrow, ``.npy``.

    Raises:
        UsageError: a file of another kind.
        DataError: it is damaged.
    """
    try:
        if path.suffix.lower() == ".npy":
            vectors = np.load(path, allow_pickle=False)
            return read_stored(ids_beside(path)).column(id_column), np.ascontiguousarray(vectors, np.float32)
        table = _read_table(path)
        return table.column(id_column), np.require(matrix(table), requirements="W")
    except (OSError, KeyError, ValueError, pa.ArrowException) as error:
        raise DataError(f"{path} cannot be read as vectors: {error}; embed again") from error


def _read_table(path: Path) -> pa.Table:
    if path.is_dir():
        parts = sorted(path.glob("part-*"))
        if not parts:
            raise NoInput(f"{path} has no part-00000.parquet; embed again")
        return pa.concat_tables([_read_table(part) for part in parts])
    if path.suffix.lower() in (".parquet", ".pq"):
        return read_stored(path)
    if path.suffix.lower() in (".arrow", ".ipc", ".feather"):
        return pa.ipc.open_file(path).read_all()
    raise UsageError(f"{path}: vectors are read from Parquet, Arrow or .npy; embed into one of these")
