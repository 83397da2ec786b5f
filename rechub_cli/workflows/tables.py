"""Tables in memory as rows: what a trained model is given from Python."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rechub_cli.errors import DataError, RechubError

if TYPE_CHECKING:
    import pyarrow as pa

    from rechub_cli.data.chunk import Chunk


class TableRows:
    """A table in memory as rows."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    @property
    def schema(self) -> pa.Schema:
        return self._table.schema

    def fingerprint(self) -> str:
        return f"table-{id(self._table)}"

    def count_rows(self) -> int | None:
        return int(self._table.num_rows)

    def tables(self, columns: Sequence[str] | None = None, rows: int = 262_144) -> Iterator[Chunk]:
        from rechub_cli.data.chunk import Chunk

        table = self._table if columns is None else self._table.select(list(columns))
        for start in range(0, table.num_rows, rows):
            yield Chunk(table.slice(start, rows), "table", start)


def as_arrow(table: Any) -> pa.Table:
    """Raises DataError for anything but an Arrow table or a pandas DataFrame."""
    import pyarrow as pa

    if isinstance(table, pa.Table):
        return table
    if isinstance(table, pa.RecordBatch):
        return pa.Table.from_batches([table])
    if type(table).__name__ == "DataFrame" and hasattr(table, "to_numpy"):
        try:
            return pa.Table.from_pandas(table, preserve_index=False)
        except (pa.ArrowException, TypeError, ValueError) as error:
            raise DataError(f"the DataFrame is no table: {first_line(error)}; give each column one type") from error
    raise DataError(f"predict takes an Arrow table or a pandas DataFrame, not {type(table).__name__}")


def first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return "; ".join(lines[:2]) if lines and not isinstance(error, RechubError) else str(error)
