"""Vectors on their way out, under the user's own ids: tables, ``.npy``, FAISS indexes."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from os import getpid
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
import pyarrow as pa

from rechub_cli.data import ann
from rechub_cli.data.types import plain
from rechub_cli.data.writers import check_target, open_writer
from rechub_cli.errors import CannotCreate, RunFailed, UsageError
from rechub_cli.files import atomic, creating, sweep_beside

EMBEDDING, INTEREST = "embedding", "interest"
_BYTES = 16 << 20  # of vectors written at a time: a row group


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of a table of vectors: the ids, the number of the interest where there are several, the vector."""

    id: str
    type: pa.DataType  # of the ids
    dim: int
    interests: bool = False

    @property
    def schema(self) -> pa.Schema:
        """The vector is a list of fixed size: an ordinary list to a reader of Parquet that knows none."""
        interest = [(INTEREST, pa.int8())] if self.interests else []
        return pa.schema([(self.id, plain(self.type)), *interest, (EMBEDDING, pa.list_(pa.float32(), self.dim))])

    def table(self, ids: pa.Array, vectors: np.ndarray, interests: np.ndarray | None = None) -> pa.Table:
        flat = pa.array(np.ascontiguousarray(vectors, np.float32).reshape(-1))
        beside = [] if interests is None else [pa.array(interests, pa.int8())]
        arrays = [ids.cast(plain(self.type)), *beside, pa.FixedSizeListArray.from_arrays(flat, self.dim)]
        return pa.Table.from_arrays(arrays, schema=self.schema)


class _Sink(Protocol):
    def write(self, table: pa.Table) -> None: ...


@dataclass(slots=True)
class VectorWriter:
    """Takes rows as they come, and tells afterwards what was written.

    Attributes:
        rows: so far.
        normalized: whether every vector so far has length 1.
        files: after the end, the rows of each file.
        index: after the end, what is to be said of an index.
    """

    columns: Columns
    _sink: _Sink
    rows: int = 0
    normalized: bool = True
    files: dict[Path, int] = field(default_factory=dict)
    index: dict[str, Any] | None = None
    _waiting: list[pa.Table] = field(default_factory=list)

    def write(self, ids: pa.Array, vectors: np.ndarray, interests: np.ndarray | None = None) -> None:
        """Vectors float32 (n, d) of ids (n,).

        Raises:
            RunFailed: a vector is not finite.
        """
        lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))
        if not np.isfinite(lengths).all():
            wrong = int(np.flatnonzero(~np.isfinite(lengths))[0])
            raise RunFailed(f"the vector of {self.columns.id} {ids[wrong]} is not finite: lower the learning rate")
        self.normalized &= bool((np.abs(lengths - 1) < 1e-3).all())
        self.rows += len(ids)
        self._waiting.append(self.columns.table(ids, vectors, interests))
        if sum(map(len, self._waiting)) * self.columns.dim * 4 >= _BYTES:
            self.flush()

    def flush(self) -> None:
        if self._waiting:
            self._sink.write(pa.concat_tables(self._waiting).combine_chunks())
            self._waiting = []


def check_vectors_target(target: str, *, overwrite: bool, shard_rows: int | None, index_type: str | None) -> None:
    """What can be known of an output beforehand.

    Raises:
        UsageError: flags that do not go together, or a kind of index that FAISS does not know.
        CannotCreate: it exists, or cannot be written.
        Unavailable: it needs FAISS, which is not installed.
    """
    suffix = Path(target).suffix.lower()
    if suffix == ".faiss":
        ann.check_kind(index_type or "flat")
    elif index_type is not None:
        raise UsageError("--index-type is for an index file: -o items.faiss")
    if shard_rows is not None:
        if target == "-" or suffix:
            raise UsageError("--shard-rows writes a folder of Parquet files: -o must name one, without a suffix")
        path = Path(target)
        if path.exists() and not overwrite:
            raise CannotCreate(f"{path} exists; use --overwrite to replace it")
        if path.exists() and not path.is_dir():
            raise CannotCreate(f"cannot write {path}: it is a file")
    elif target != "-":
        for path in (Path(target), *([ids_beside(Path(target))] if suffix in (".npy", ".faiss") else [])):
            check_target(path, overwrite)


def ids_beside(target: Path) -> Path:
    """``items.npy`` -> ``items.ids.parquet``: the id of each row."""
    return target.with_name(f"{target.stem}.ids.parquet")


@contextlib.contextmanager
def open_vectors(
    target: str,
    columns: Columns,
    *,
    format: str | None = None,
    overwrite: bool = False,
    header: bool = True,
    stream: IO[bytes] | None = None,
    shard_rows: int | None = None,
    index_type: str | None = None,
) -> Iterator[VectorWriter]:
    """A writer of vectors to a table (see ``open_writer``), ``.npy`` and its ids, an index, or a folder of shards.

    What was there stays until the block ends well.

    Raises:
        as ``check_vectors_target`` and ``open_writer``.
    """
    suffix = "" if target == "-" else Path(target).suffix.lower()
    if target != "-":
        sweep_beside(Path(target))
    files: dict[Path, int] = {}
    opened: AbstractContextManager[Any]
    if shard_rows is not None:
        opened = _shards(Path(target), shard_rows, format or "parquet", files)
    elif suffix == ".npy" and format is None:
        opened = _npy(Path(target), columns, files)
    elif suffix == ".faiss" and format is None:
        opened = _faiss(Path(target), columns, index_type or "flat", files)
    else:
        opened = open_writer(target, format=format, overwrite=overwrite, header=header, stream=stream)
    with opened as sink:
        writer = VectorWriter(columns, sink)
        yield writer
        writer.flush()
        if not writer.rows:
            sink.write(columns.schema.empty_table())
    if target != "-":
        writer.files = files or {Path(target): writer.rows}
    writer.index = getattr(sink, "facts", None)


class _Arrays:
    """Vectors to a file of numpy's format, ids to a table."""

    def __init__(self, file: IO[bytes], ids: Any, dim: int) -> None:
        self.file, self.ids, self.dim, self.rows = file, ids, dim, 0
        self.head()

    def head(self) -> None:
        """Numpy pads it, so that it can be written again with another number of rows."""
        shape = {"descr": "<f4", "fortran_order": False, "shape": (self.rows, self.dim)}
        np.lib.format.write_array_header_1_0(self.file, shape)

    def write(self, table: pa.Table) -> None:
        self.ids.write(table.drop_columns([EMBEDDING]))
        self.file.write(matrix(table).data)
        self.rows += len(table)


@contextlib.contextmanager
def _npy(target: Path, columns: Columns, files: dict[Path, int]) -> Iterator[_Sink]:
    with atomic(target) as file, open_writer(str(ids_beside(target)), overwrite=True) as ids:
        sink = _Arrays(file, ids, columns.dim)
        yield sink
        file.seek(0)
        sink.head()
    files |= {target: sink.rows, ids_beside(target): sink.rows}


class _Held:
    """All rows, in memory."""

    facts: dict[str, Any]

    def __init__(self) -> None:
        self.tables: list[pa.Table] = []

    def write(self, table: pa.Table) -> None:
        self.tables.append(table)


@contextlib.contextmanager
def _faiss(target: Path, columns: Columns, kind: str, files: dict[Path, int]) -> Iterator[_Sink]:
    """Whole numbers are the ids of the index; of other ids it holds the rows, and a table beside it the ids."""
    sink = _Held()
    yield sink
    table = pa.concat_tables(sink.tables)
    numbers = whole_numbers(table.column(columns.id))
    labels = np.arange(len(table)) if numbers is None else numbers
    index, sink.facts = ann.build(matrix(table), labels, kind)
    sink.facts["ids"] = "row" if numbers is None else columns.id
    if numbers is None:
        with open_writer(str(ids_beside(target)), overwrite=True) as ids:
            ids.write(table.drop_columns([EMBEDDING]))
        files[ids_beside(target)] = len(table)
    ann.save(index, target)
    files[target] = len(table)


class _Shards:
    """Files of so many rows each, in one folder."""

    def __init__(self, folder: Path, rows: int, format: str) -> None:
        self.folder, self.size, self.format = folder, rows, format
        self.files: list[int] = []
        self._open = contextlib.ExitStack()
        self._writer: Any = None

    def write(self, table: pa.Table) -> None:
        while self._writer is None or len(table):
            if self._writer is None or self.files[-1] == self.size:
                self._open.close()
                name = f"part-{len(self.files):05d}.{self.format}"
                self._writer = self._open.enter_context(open_writer(str(self.folder / name), format=self.format))
                self.files.append(0)
            part = table.slice(0, self.size - self.files[-1])
            self._writer.write(part)
            self.files[-1] += len(part)
            table = table.slice(len(part))


@contextlib.contextmanager
def _shards(target: Path, rows: int, format: str, files: dict[Path, int]) -> Iterator[_Sink]:
    building = target.with_name(f".{target.name}.{getpid()}.tmp")
    shutil.rmtree(building, ignore_errors=True)
    with creating(target):
        building.mkdir(parents=True)
        try:
            sink = _Shards(building, rows, format)
            with sink._open:
                yield sink
            aside = building.with_suffix(".old")
            if target.exists():
                target.rename(aside)
            building.rename(target)
            shutil.rmtree(aside, ignore_errors=True)
        except BaseException:
            shutil.rmtree(building, ignore_errors=True)
            raise
    files |= {target / f"part-{number:05d}.{format}": n for number, n in enumerate(sink.files)}


def whole_numbers(ids: pa.ChunkedArray) -> np.ndarray | None:
    """int64 (n,) of ids that an index can hold as they are; None where one is text, null or negative."""
    if not pa.types.is_integer(ids.type) or ids.null_count:
        return None
    numbers = ids.to_numpy()
    return numbers.astype(np.int64) if not len(numbers) or (numbers.min() >= 0 and numbers.max() < 2**63) else None


def matrix(table: pa.Table) -> np.ndarray:
    """float32 (n, d), contiguous."""
    column = table.column(EMBEDDING).combine_chunks()
    column = column if isinstance(column, pa.Array) else pa.concat_arrays(column.chunks)
    return (
        column.flatten().to_numpy(zero_copy_only=False).reshape(len(table), -1 if len(table) else column.type.list_size)
    )
