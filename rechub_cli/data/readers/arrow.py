"""Arrow IPC: files (Feather version 2 too) and streams."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import pyarrow as pa

from rechub_cli.data.inputs import File
from rechub_cli.errors import DataError, NoInput

_MAGIC = b"ARROW1"


class Arrow:
    """Arrow IPC: what other programs hand over without writing text."""

    suffixes = (".arrow", ".arrows", ".ipc", ".feather")
    seekable = True
    untyped = False

    def schema(self, file: File) -> pa.Schema:
        with _open(file, None) as reader:
            return reader.schema

    def scan(self, file: File, types: Mapping[str, pa.DataType] | None = None) -> pa.Schema:
        return self.schema(file)

    def count_rows(self, file: File) -> int | None:
        return None

    def batches(self, file: File, columns: Sequence[str], rows: int, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        try:
            with _open(file, columns) as reader:
                stream = isinstance(reader, pa.RecordBatchStreamReader)
                batches = reader if stream else map(reader.get_batch, range(reader.num_record_batches))
                for batch in batches:
                    yield batch.select(list(columns))
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{file.name}: damaged Arrow data: {error}") from error


def _open(file: File, columns: Sequence[str] | None) -> pa.RecordBatchFileReader | pa.RecordBatchStreamReader:
    """A reader of the columns (None: only its schema is wanted); a file's batches are mapped, not copied."""
    try:
        head = file.head()
        if not head:
            raise NoInput(f"{file.name} is empty")
        whole = head.startswith(_MAGIC)
        if whole and file.compression:
            raise DataError(f"{file.name}: an Arrow IPC file cannot be compressed as a whole; unpack it")
        if whole:  # mapped: columns and rows that nobody asks for are not read
            return pa.ipc.open_file(file.map())
        if columns is None:
            return pa.ipc.open_stream(head)
        with _open(file, None) as reader:
            wanted = sorted(reader.schema.get_field_index(name) for name in columns)
        return pa.ipc.open_stream(file.stream(), options=pa.ipc.IpcReadOptions(included_fields=wanted))
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{file.name}: not an Arrow IPC file, or damaged: {error}") from error
