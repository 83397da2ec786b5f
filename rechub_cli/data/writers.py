"""Tables on their way out: Parquet, CSV, TSV, JSON Lines, Arrow; to a file that is whole or not there, or a stream."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, Protocol

import pyarrow as pa

from rechub_cli.data.inputs import COMPRESSIONS
from rechub_cli.data.text import csv_lines, json_lines
from rechub_cli.data.types import plain
from rechub_cli.errors import CannotCreate, DataError, UsageError
from rechub_cli.files import atomic, begin_writing, creating, sweep_beside

FORMATS = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".arrow": "arrow",
    ".ipc": "arrow",
    ".feather": "arrow",
    ".arrows": "arrow-stream",
}
_SLICE = 65_536  # rows turned into text at a time
_BEGIN = 16 << 20  # bytes after which the system begins to write them to the disk


class Writer(Protocol):
    def write(self, table: pa.Table) -> None:
        """Rows, in order; all tables have the first one's columns. A table without rows still names the columns."""


@contextlib.contextmanager
def open_writer(
    target: str, *, format: str | None = None, overwrite: bool = False, header: bool = True, stream: Any = None
) -> Iterator[Writer]:
    """A writer of tables to a file, or to ``stream`` (binary) where the target is ``-``.

    A file appears, or replaces the old one, when the block ends well; else nothing changes. A stream gets rows as
    they come. Numbers are written in the shortest form that reads back to the same.

    Args:
        target: a path, or ``-``.
        format: parquet, csv, tsv, jsonl or arrow; None: what the suffix says (csv for ``-``).
            Arrow is the file format in a file and the stream format in a stream. Text is compressed as a suffix
            ``.gz``, ``.zst`` or ``.bz2`` says.
        overwrite: whether a file that exists is replaced.
        header: whether CSV and TSV begin with the columns' names.

    Raises:
        UsageError: no such format, or the suffix tells none.
        CannotCreate: the file exists, or cannot be written.
    """
    if target == "-":
        chosen = "arrow-stream" if format == "arrow" else format or "csv"
        with creating("standard output"), _writer(chosen, header, stream) as writer:
            yield writer
            stream.flush()
        return
    path = Path(target)
    chosen = format or _format_of(path)
    check_target(path, overwrite)
    if path.exists() and not path.is_file():  # a device or a named pipe: there is nothing to replace
        with creating(path), open(path, "wb") as device, _writer(chosen, header, device) as writer:
            yield writer
        return
    compression = COMPRESSIONS.get(path.suffix.lower())
    sweep_beside(path)
    with atomic(path) as file, _writer(chosen, header, file, compression) as writer:
        yield writer


def check_target(path: Path, overwrite: bool) -> None:
    """Raises CannotCreate if ``path`` cannot be written: to be asked before the work begins."""
    if path.is_dir():
        raise CannotCreate(f"cannot write {path}: it is a directory")
    if path.is_file() and not overwrite:
        raise CannotCreate(f"{path} exists; use --overwrite to replace it")
    if not path.parent.is_dir():
        raise CannotCreate(f"cannot write {path}: there is no directory {path.parent}")
    if not os.access(path.parent, os.W_OK):
        raise CannotCreate(f"cannot write {path}: no permission to write in {path.parent}")


def _format_of(path: Path) -> str:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    compressed = bool(suffixes) and suffixes[-1] in COMPRESSIONS
    name = FORMATS.get(suffixes[-2] if compressed and len(suffixes) > 1 else suffixes[-1] if suffixes else "")
    if name is None:
        raise UsageError(f"{path}: the suffix tells no format (known: {' '.join(FORMATS)}); use --output-format")
    if compressed and name in ("parquet", "arrow"):
        raise UsageError(f"{path}: {name} is compressed inside; leave out {path.suffix}")
    return name


class _Sink:
    """A file that Arrow's writers can neither close nor, once abandoned, write an ending to."""

    closed = False

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._written, self._begun = file, 0, 0
        self.abandoned = False

    def write(self, data: Any) -> int:
        if not self.abandoned:
            self._file.write(data)
            self._written += len(data)
            if self._written - self._begun >= _BEGIN:
                begin_writing(self._file, self._begun, self._written)
                self._begun = self._written
        return len(data)

    def flush(self) -> None:
        if not self.abandoned:
            self._file.flush()

    def close(self) -> None:
        pass


@contextlib.contextmanager
def _writer(format: str, header: bool, file: IO[bytes], compression: str | None = None) -> Iterator[Writer]:
    target = _Sink(file)
    sink = pa.CompressedOutputStream(pa.PythonFile(target, "w"), compression) if compression else target
    try:
        if format in _BINARY:
            binary = _Binary(sink, _BINARY[format])
            try:
                yield binary
            except BaseException:
                target.abandoned = True
                raise
            finally:
                binary.close()
        elif format in ("csv", "tsv"):
            yield _Text(sink, lambda table, first: csv_lines(table, "\t" if format == "tsv" else ",", header and first))
        elif format == "jsonl":
            yield _Text(sink, lambda table, first: json_lines(table))
        else:
            raise UsageError(f"no output format {format!r}; there are: parquet, csv, tsv, jsonl, arrow")
        sink.close()
    except BaseException:
        target.abandoned = True
        raise


def _parquet(sink: Any, schema: pa.Schema) -> Any:
    import pyarrow.parquet

    # Vectors hardly repeat: to look for values that do would take half of the time, and to compress them a sixth.
    vectors = [field.name for field in schema if pa.types.is_fixed_size_list(field.type)]
    others = [field for field in schema if field.name not in vectors]
    repeating: Any = [field.name for field in others] if vectors else True
    codecs: Any = "zstd"
    if vectors and not any(pa.types.is_nested(field.type) for field in others):
        codecs = dict.fromkeys(repeating, "zstd") | {f"{name}.list.element": "none" for name in vectors}
    return pyarrow.parquet.ParquetWriter(
        sink, schema, compression=codecs, use_dictionary=repeating, write_statistics=repeating
    )


_BINARY: dict[str, Callable[[Any, pa.Schema], Any]] = {
    "parquet": _parquet,
    "arrow": lambda sink, schema: pa.ipc.new_file(sink, schema),
    "arrow-stream": lambda sink, schema: pa.ipc.new_stream(sink, schema),
}


@contextlib.contextmanager
def _holding() -> Iterator[None]:
    """Raises DataError for a value of the user's own columns that the format cannot hold."""
    try:
        yield
    except (pa.ArrowException, OverflowError) as error:
        raise DataError(
            f"a value cannot be written: {error}; leave its column out, mend it, or use another --output-format"
        ) from error


class _Binary:
    def __init__(self, sink: Any, create: Callable[[Any, pa.Schema], Any]) -> None:
        self._sink, self._create = sink, create
        self._writer: Any = None

    def write(self, table: pa.Table) -> None:
        """Dictionary columns become plain: their dictionaries differ from table to table."""
        with _holding():
            plain_schema = pa.schema([field.with_type(plain(field.type)) for field in table.schema])
            if self._writer is None:
                self._writer = self._create(self._sink, plain_schema)
            self._writer.write_table(table.cast(plain_schema))

    def close(self) -> None:
        if self._writer is None:
            self._writer = self._create(self._sink, pa.schema([]))
        self._writer.close()


class _Text:
    def __init__(self, sink: Any, lines: Callable[[pa.Table, bool], Iterator[Any]]) -> None:
        self._sink, self._lines = sink, lines
        self._first = True

    def write(self, table: pa.Table) -> None:
        with _holding():
            for start in range(0, max(1, table.num_rows), _SLICE):
                for data in self._lines(table.slice(start, _SLICE), self._first):
                    self._sink.write(data)
                self._first = False
