"""The end of a log, kept with a run: the events that later rows still have in their histories."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rechub_cli.data.events import event_columns
from rechub_cli.data.fit import CHUNK_ROWS
from rechub_cli.data.history import EventStore
from rechub_cli.data.source import Source
from rechub_cli.data.types import plain
from rechub_cli.errors import DataError
from rechub_cli.files import atomic, creating

if TYPE_CHECKING:
    from rechub_cli.data.chunk import Rows
    from rechub_cli.data.encoder import Encoder


def keep(
    store: EventStore,
    encoder: Encoder,
    parts: Sequence[Rows],
    path: Path,
    progress: Callable[[int], None] | None = None,
) -> int:
    """Write the latest events of each user, as the user's own ids, in Parquet; how many they are.

    What stands at the end of train is kept as well as what stands at the end of valid and of test, so that their rows
    find the same history again. One more pass over ``parts``, from which ``store`` was built.
    """
    kept = np.zeros(len(store), bool)
    for part in range(1, len(parts) + 1):
        until = store.first(part)
        kept[np.flatnonzero(store.events.parts < part)[until.latest()]] = True
    columns = event_columns(encoder)
    schema = pa.schema([(name, plain(parts[0].schema.field(name).type)) for name in columns])
    done = 0
    with creating(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    with atomic(path) as file, pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for part, rows in enumerate(parts):
            wanted = np.sort(store.events.rows[kept & (store.events.parts == part)])
            start = 0
            for chunk in rows.tables(columns, CHUNK_ROWS):
                low, high = np.searchsorted(wanted, [start, start + len(chunk)])
                if low < high:
                    writer.write_table(_as(chunk.table.take(wanted[low:high] - start), schema, chunk.file))
                start += len(chunk)
                done += len(chunk)
                if progress:
                    progress(done)
    return int(np.count_nonzero(kept))


def _as(table: pa.Table, schema: pa.Schema, file: str) -> pa.Table:
    """The table in the types of train. Raises DataError for a column whose values have none."""
    for name in schema.names:
        try:
            table.column(name).cast(schema.field(name).type)
        except pa.ArrowException as error:
            there, wanted = plain(table.schema.field(name).type), schema.field(name).type
            raise DataError(f"{file}: {name} is {there}, and {wanted} in train; give both the same type") from error
    return table.cast(schema)


def reopen(path: Path, encoder: Encoder, newer: Sequence[Rows] = ()) -> EventStore:
    """The events that ``keep`` wrote, and those of ``newer`` rows that are not among them.

    Raises:
        DataError: the file is missing or damaged; newer rows do not fit.
    """
    if not path.is_file():
        raise DataError(f"{path} is missing; restore the run or train again")
    return EventStore.build(encoder, [Source.open([str(path)], base=Path()), *newer], distinct=bool(newer))
