"""Comma-separated text with a header line."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Iterator, Mapping, Sequence

import pyarrow as pa
import pyarrow.csv as pacsv

from rechub_cli.data.inputs import File
from rechub_cli.data.types import kind
from rechub_cli.errors import DataError, NoInput

_BLOCK = 1 << 20  # bytes parsed at a time


class CSV:
    """CSV: every cell is read as text first, so that types hold for the whole file and a bad cell is named."""

    suffixes: tuple[str, ...] = (".csv",)
    seekable = False
    untyped = True
    delimiter = ","

    def schema(self, file: File) -> pa.Schema:
        """Names, and the types that the first megabyte suggests."""
        return self._guess(file, pa.BufferReader(file.head()))

    def scan(self, file: File, types: Mapping[str, pa.DataType] | None = None) -> pa.Schema:
        """Names, and types that hold for every row; columns without a known type are text if some are given."""
        if types is not None:
            return pa.schema([(name, types.get(name, pa.string())) for name in self._names(file)])
        return self._guess(file, file.stream())

    def count_rows(self, file: File) -> int | None:
        return None

    def batches(self, file: File, columns: Sequence[str], rows: int, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        from rechub_cli.data.untyped import Unreadable, parse

        first_row = 0
        for text in self._text(file, file.stream(), columns):
            arrays = []
            for name in columns:
                type = schema.field(name).type
                try:
                    arrays.append(parse(text.column(name), type))
                except Unreadable as bad:
                    where = f"{file.name}, row {first_row + bad.row + 1}"
                    raise DataError(f"{where}: column {name}: {bad.text!r} is no {kind(type)}") from None
            yield pa.RecordBatch.from_arrays(arrays, names=list(columns))
            first_row += text.num_rows

    def _guess(self, file: File, stream: pa.NativeFile) -> pa.Schema:
        from rechub_cli.data.untyped import Guess

        guesses: dict[str, Guess] = {}
        rows = 0
        for text in self._text(file, stream, None):
            for name in text.schema.names:
                guesses.setdefault(name, Guess()).see(text.column(name))
            rows += text.num_rows
            if text.num_rows and self._swallowed(text):
                raise DataError(f"{file.name}, row {rows}: the quote in column {text.schema.names[-1]} is never closed")
        return pa.schema([(name, guess.type) for name, guess in guesses.items()])

    def _swallowed(self, text: pa.RecordBatch) -> bool:
        """Whether the last cell holds further rows: Arrow ends a quoted cell with the file, if nothing else does."""
        lines = (text.column(text.num_columns - 1)[-1].as_py() or "").split("\n")[1:]
        counts = {line.count(self.delimiter) for line in lines if line}
        return text.num_columns > 1 and counts == {text.num_columns - 1}

    def _text(self, file: File, stream: pa.NativeFile, columns: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
        """Blocks of rows as text; the first has none but names the columns. An empty cell is null."""
        names = self._names(file)
        convert = pacsv.ConvertOptions(
            column_types={name: pa.string() for name in names},
            include_columns=list(columns) if columns is not None else None,
            strings_can_be_null=True,
            null_values=[""],
        )
        reading, parsing = pacsv.ReadOptions(block_size=_BLOCK), self._parsing()
        try:
            with pacsv.open_csv(stream, reading, parsing, convert) as reader:
                yield pa.RecordBatch.from_pylist([], schema=reader.schema)
                yield from reader
        except (pa.ArrowException, OSError) as error:
            if "Empty CSV file" in str(error):  # a header without a line end
                yield pa.RecordBatch.from_pylist(
                    [], schema=pa.schema([(name, pa.string()) for name in columns or names])
                )
                return
            raise DataError(self._explain(file, names, str(error))) from error

    def _names(self, file: File) -> list[str]:
        """The header's names."""
        header, quoted = bytearray(), False
        for line in io.BytesIO(file.head().removeprefix(codecs.BOM_UTF8).lstrip(b"\r\n")):
            header += line
            quoted ^= line.count(b'"') % 2 == 1
            if not quoted:
                break
        try:
            with pacsv.open_csv(pa.BufferReader(bytes(header) + b"\n"), parse_options=self._parsing()) as reader:
                names = list(reader.schema.names)
        except (pa.ArrowException, UnicodeDecodeError) as error:
            if not header.strip():
                raise NoInput(f"{file.name} is empty") from None
            raise DataError(f"{file.name}: the header cannot be read: {error}") from error
        if len(names) == 1 and ";" in names[0]:
            raise DataError(f"{file.name}: cells are parted by ';'; write them with commas, or with tabs as .tsv")
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise DataError(f"{file.name}: the header names {', '.join(map(repr, twice))} more than once")
        return names

    def _parsing(self) -> pacsv.ParseOptions:
        return pacsv.ParseOptions(delimiter=self.delimiter, newlines_in_values=True)

    def _explain(self, file: File, names: list[str], message: str) -> str:
        """Arrow's message in the user's terms, with the row that it means: found by reading again in one thread."""
        if "Expected" in message and file.pipe is None:
            reading = pacsv.ReadOptions(block_size=_BLOCK, use_threads=False)
            convert = pacsv.ConvertOptions(column_types={name: pa.binary() for name in names})
            try:
                for _ in pacsv.open_csv(file.stream(), reading, self._parsing(), convert):
                    pass
            except pa.ArrowException as error:
                message = str(error)
        ragged = re.search(r"(?:Row #(\d+): )?Expected (\d+) columns, got (\d+): (.*)", message)
        if ragged:
            row = f", row {int(ragged[1]) - 1}" if ragged[1] else ""
            return f"{file.name}{row}: {ragged[3]} cells where the header has {ragged[2]}: {ragged[4][:80]!r}"
        if "straddl" in message:
            return f"{file.name}: a row is longer than {_BLOCK >> 20} MiB; is there a quote that is never closed?"
        if "invalid UTF8" in message:
            return f"{file.name}: not UTF-8 text ({message}); save it as UTF-8"
        return f"{file.name}: {message}"
