"""The files of a spec as one stream of rows: read, joined, filtered, always in the same order."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import pyarrow as pa

from rechub_cli.data.chunk import CHUNK_ROWS, Chunk, Rows
from rechub_cli.data.formats import open_stdin, reader_of, suffixes_of
from rechub_cli.data.inputs import File, find_files
from rechub_cli.data.prefetch import prefetch
from rechub_cli.data.readers import Reader
from rechub_cli.data.types import cast, handled, is_text, kind, unify
from rechub_cli.errors import DataError, NoInput, UsageError
from rechub_cli.spec.model import Join

# What computes is imported where it is used, here and by readers: to look for a column takes 0.07 s less without.
if TYPE_CHECKING:
    from rechub_cli.data.filter import Filter
    from rechub_cli.data.join import LookUp

__all__ = ["CHUNK_ROWS", "Chunk", "Rows", "Source", "Stats"]


@dataclass
class Stats:
    """What the latest pass met, as far as it got.

    Attributes:
        rows_read: rows of the files.
        rows_kept: those that the filter left.
        join_misses: file of each join that was needed -> rows whose key it lacks.
    """

    rows_read: int = 0
    rows_kept: int = 0
    join_misses: dict[str, int] = field(default_factory=dict)


@dataclass
class Source:
    """Rows of one or more files; ``Source.open`` makes one.

    Attributes:
        files: in the order in which they are read.
        types: types known beforehand, of some columns.
    """

    files: list[File]
    readers: list[Reader]
    joins: list[LookUp]
    condition: str | None
    types: Mapping[str, pa.DataType] | None = None
    spool: Any = None  # keeps a temporary copy of standard input alive
    stats: Stats = field(default_factory=Stats)

    @classmethod
    def open(
        cls,
        paths: Sequence[str],
        *,
        base: Path,
        format: str = "auto",
        joins: Sequence[Join] = (),
        filter: str | None = None,
        stdin: IO[bytes] | None = None,
        types: Mapping[str, pa.DataType] | None = None,
    ) -> Source:
        """The rows that ``paths`` (relative to ``base``) name: files, directories, globs, ``-`` for standard input.

        Args:
            types: types of columns, known from an encoder: text (CSV, TSV, JSONL) is read as these types without a
                first pass that finds them out, its other columns stay text; standard input is then read as it comes.
                Without them standard input is kept in a temporary file, so that it can be read more than once.

        Raises:
            NoInput: a path names nothing.
            DataError: a file is damaged, or two files' columns do not fit together.
            SpecError: the filter or a join is wrong.
        """
        look_ups: list[LookUp] = []
        if joins:
            from rechub_cli.data.join import LookUp

            look_ups = [LookUp(join, cls.open([join.file], base=base)) for join in joins]
        spool = None
        if list(paths) == ["-"]:
            file, reader, spool = open_stdin(stdin, format, keep=types is None)
            files, readers = [file], [reader]
        elif "-" in paths:
            raise UsageError("standard input (-) cannot be read together with other files")
        else:
            files = find_files(paths, base, suffixes_of(format))
            readers = [reader_of(file, format) for file in files]
        if not files:
            raise NoInput("no data file was named")
        return cls(files, readers, look_ups, filter, types, spool)

    @cached_property
    def schema(self) -> pa.Schema:
        """Names and types of all columns, joined ones too; they hold for every row (text is read once for that)."""
        schema = self._joined(self._columns)
        self._filter(schema)
        return schema

    def _filter(self, schema: pa.Schema) -> Filter | None:
        """Raises SpecError where the condition does not fit the schema."""
        if self.condition is None:
            return None
        from rechub_cli.data.filter import Filter

        return Filter(self.condition, schema)

    @property
    def seekable(self) -> bool:
        """Whether the rows can be streamed at little cost, from the start, as often as needed."""
        return all(reader.seekable for reader in self.readers) and all(file.pipe is None for file in self.files)

    def with_text(self, names: Collection[str]) -> Source:
        """The same rows. Where text has no types, columns of these names stay text, whatever they look like."""
        if self.seekable:
            return self
        types = {field.name: pa.string() if field.name in names else field.type for field in self._columns}
        return replace(self, types=types, stats=Stats())

    def column_kinds(self) -> dict[str, str]:
        """Each column's kind, from footers, headers and first blocks: quick; types of text are likely, not certain."""
        schemas = [reader.schema(file) for file, reader in zip(self.files, self.readers, strict=True)]
        return {field.name: kind(field.type) for field in self._joined(self._together(schemas))}

    def fingerprint(self) -> str:
        """A hash of everything that decides the rows: files, joins, filter, known types."""
        digest = hashlib.sha256()
        for file, reader in zip(self.files, self.readers, strict=True):
            how = f"{type(reader).__qualname__} {sorted(file.partition.items())}"
            digest.update(f"{file.fingerprint()} {how}\n".encode())
        for look_up in self.joins:
            digest.update(f"join {look_up.fingerprint()}\n".encode())
        digest.update(f"filter {self.condition}\ntypes {sorted((self.types or {}).items(), key=str)}\n".encode())
        return digest.hexdigest()

    def count_rows(self) -> int | None:
        """The number of rows, if files tell it without being read and no filter drops any."""
        if self.condition is not None:
            return None
        counts = [reader.count_rows(file) for file, reader in zip(self.files, self.readers, strict=True)]
        return None if None in counts else sum(count for count in counts if count is not None)

    def tables(self, columns: Sequence[str] | None = None, rows: int = CHUNK_ROWS) -> Iterator[Chunk]:
        """The rows, decoded ahead of the consumer by a thread; no chunk spans two files.

        Raises:
            DataError: damaged data, or a file that lacks a column; named with file and row.
        """
        names = self.schema.names if columns is None else list(dict.fromkeys(columns))
        missing = [name for name in names if name not in self.schema.names]
        if missing:
            raise DataError(f"{self.files[0].name} has no column {missing[0]!r}; there are: {self._listed()}")
        condition = self._filter(self.schema)
        self.stats = Stats()
        return prefetch(self._read(names, rows, condition, self.stats))

    def _read(self, names: list[str], rows: int, condition: Filter | None, stats: Stats) -> Iterator[Chunk]:
        needed = list(dict.fromkeys([*names, *(condition.columns if condition else ())]))
        joins: list[LookUp] = []
        for look_up in reversed(self.joins):
            if set(needed) & set(look_up.added):
                joins.insert(0, look_up)
                needed = list(dict.fromkeys([*(name for name in needed if name not in look_up.added), *look_up.keys]))
                stats.join_misses[look_up.name] = 0
        for i in range(len(self.files)):
            for chunk in self._chunks(i, needed, rows):
                stats.rows_read += len(chunk)
                for look_up in joins:
                    table, misses = look_up.add(chunk.table, chunk.file)
                    chunk = replace(chunk, table=table)
                    stats.join_misses[look_up.name] += misses
                if condition is not None:
                    chunk = chunk.take(condition.mask(chunk.table))
                stats.rows_kept += len(chunk)
                if len(chunk):
                    yield chunk.select(names)

    def _chunks(self, i: int, names: list[str], rows: int) -> Iterator[Chunk]:
        """The columns of one file and of its path, each of the type it has in all files."""
        file, reader, here = self.files[i], self.readers[i], self._schemas[i].names
        wanted = [name for name in names if name in here]
        absent = [name for name in names if name not in here and name not in file.partition]
        if absent:
            raise DataError(f"{file.name} has no column {absent[0]!r}, which other files of this data have")
        schema = self._columns
        first_row = 0
        for table in _coalesce(reader.batches(file, wanted or here[:1], rows, schema), rows):
            try:  # a wrong offset, or bytes that are no text, must not reach the code that trusts them
                table.validate(full=True)
            except pa.ArrowException as error:
                raise DataError(f"{file.name}: damaged data from row {first_row + 1} on: {error}") from error
            columns = []
            for name in names:
                type = schema.field(name).type
                if name not in here:
                    columns.append(pa.repeat(_partition_value(file.partition[name], type), table.num_rows))
                    continue
                column = table.column(name)
                try:
                    columns.append(cast(column, type))
                except pa.ArrowException as error:
                    raise DataError(f"{file.name}: column {name} does not fit {type}: {error}") from error
            yield Chunk(pa.table(columns, names=names), file.name, first_row)
            first_row += table.num_rows

    @cached_property
    def _schemas(self) -> list[pa.Schema]:
        """Of each file, types certain."""
        return [self._scan(file, reader) for file, reader in zip(self.files, self.readers, strict=True)]

    def _scan(self, file: File, reader: Reader) -> pa.Schema:
        if self.types is None:
            return reader.scan(file)
        types = {key: type for look_up in self.joins for key, type in look_up.key_types().items()} | dict(self.types)
        elsewhere = {name for look_up in self.joins for name in look_up.added} | set(file.partition)
        types = {name: type for name, type in types.items() if name not in elsewhere}
        if self.condition is not None:
            from rechub_cli.data.filter import mentioned

            if mentioned(self.condition) - set(types):
                guess = reader.schema(file) if file.pipe is not None else reader.scan(file)
                types = {name: guess.field(name).type for name in mentioned(self.condition) & set(guess.names)} | types
        return reader.scan(file, types)

    @cached_property
    def _columns(self) -> pa.Schema:
        """Of all files together, without joined columns."""
        return self._together(self._schemas)

    def _together(self, schemas: list[pa.Schema]) -> pa.Schema:
        types: dict[str, pa.DataType] = {}
        origin: dict[str, str] = {}
        free: dict[str, bool] = {}  # whether all files can give the column as text
        for file, reader, schema in zip(self.files, self.readers, schemas, strict=True):
            try:
                names = schema.names
            except UnicodeDecodeError as error:
                raise DataError(f"{file.name}: a column's name is not UTF-8 text: {error}") from error
            if len(set(names)) < len(names):
                twice = next(name for name in names if names.count(name) > 1)
                raise DataError(f"{file.name} has more than one column {twice!r}")
            for column in schema:
                here = handled(column.type)
                before = types.setdefault(column.name, here)
                type = unify(before, here)
                free[column.name] = free.get(column.name, True) and (reader.untyped or is_text(here))
                if type is None and free[column.name]:
                    type = pa.string()
                if type is None:
                    raise DataError(
                        f"column {column.name} is {before} in {origin[column.name]} and {here} in {file.name}; "
                        "give it one type"
                    )
                types[column.name] = type
                origin.setdefault(column.name, file.name)
        for name in dict.fromkeys(key for file in self.files for key in file.partition):
            if name not in types and all(name in file.partition for file in self.files):
                from rechub_cli.data.untyped import Guess

                guess = Guess()
                guess.see(pa.array([file.partition[name] for file in self.files], pa.string()))
                types[name] = (self.types or {}).get(name, guess.type)
        return pa.schema(list(types.items()))

    def _joined(self, schema: pa.Schema) -> pa.Schema:
        for look_up in self.joins:
            schema = look_up.extend(schema, self.files[0].name)
        return schema

    def _listed(self) -> str:
        names = self.schema.names
        return ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")


def _partition_value(text: str | None, type: pa.DataType) -> pa.Scalar:
    from rechub_cli.data.untyped import parse

    return parse(pa.array([text], pa.string()), type)[0]


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
