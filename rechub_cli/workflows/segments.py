"""Metrics of parts of the rows: of each value of a column."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from rechub_cli.errors import DataError, UsageError

if TYPE_CHECKING:
    import numpy as np

MOST = 200  # segments that are measured: the largest; the rest are counted


class Measurable(Protocol):
    """Scored rows, or ranked queries: what metrics are computed from, over all or over some."""

    def __len__(self) -> int: ...

    def take(self, rows: np.ndarray) -> Measurable: ...

    def metrics(self, metrics: Mapping[str, Any]) -> dict[str, float]: ...


@dataclass(slots=True)
class Kept:
    """Columns of the rows that a loader yields, beside what becomes of its batches."""

    names: Sequence[str]
    tables: list[Any] = field(default_factory=list)

    def watch(self, loader: Iterable[Any]) -> Iterator[Any]:
        """The same batches."""
        for item in loader:
            if self.names:
                self.tables.append(item[1])
            yield item

    def codes(self, name: str) -> tuple[np.ndarray, list[Any]]:
        """int64 (N,): which of the column's distinct values each row has; and these values, one None at most.

        Raises:
            UsageError: the values cannot be told apart.
        """
        import numpy as np
        import pyarrow as pa

        from rechub_cli.data.types import plain

        try:
            parts = [table.column(name).cast(plain(table.schema.field(name).type)) for table in self.tables]
            column = pa.chunked_array([chunk for part in parts for chunk in part.chunks]).combine_chunks()
            found = column.dictionary_encode(null_encoding="encode")
        except (pa.ArrowException, TypeError) as error:
            raise UsageError(f"the values of {name} cannot be told apart: {error}") from error
        if isinstance(found, pa.ChunkedArray):
            found = found.combine_chunks()
        return found.indices.to_numpy(zero_copy_only=False).astype(np.int64), found.dictionary.to_pylist()


@dataclass(frozen=True, slots=True)
class Collected:
    """What one run made of the rows, the metrics that are asked for, and columns beside."""

    found: Measurable
    wanted: Mapping[str, Any]
    kept: Kept
    cluster: str | None

    def __len__(self) -> int:
        return len(self.found)

    def metrics(self, rows: np.ndarray | None = None) -> dict[str, float]:
        """Of all rows, or of those at these places."""
        return (self.found if rows is None else self.found.take(rows)).metrics(self.wanted)

    def codes(self, name: str) -> tuple[np.ndarray, list[Any]]:
        """As ``Kept.codes``. Raises DataError where rows and their columns have lost each other."""
        codes, values = self.kept.codes(name)
        if len(codes) != len(self):
            raise DataError(f"{len(codes):,} rows were read and {len(self):,} were measured: {name} cannot be told")
        return codes, values


@dataclass(frozen=True, slots=True)
class Segment:
    """The rows that have one value."""

    value: Any
    rows: int
    metrics: dict[str, float]
    against: dict[str, float] | None

    def to_json(self) -> dict[str, Any]:
        value = self.value if isinstance(self.value, str | int | bool | None) else str(self.value)
        found = {"value": value, "rows": self.rows, "metrics": self.metrics}
        return found if self.against is None else {**found, "against": self.against}


@dataclass(frozen=True, slots=True)
class Segments:
    """The largest segments of a column, and how many more there are."""

    by: str
    largest: list[Segment]
    more: int
    more_rows: int

    @classmethod
    def of(cls, by: str, found: Collected, beside: Collected | None) -> Segments:
        """Measure each; ``beside`` is another run on the same rows."""
        import numpy as np

        codes, values = found.codes(by)
        counts = np.bincount(codes, minlength=len(values))
        order = sorted(range(len(values)), key=lambda code: (-counts[code], str(values[code])))
        order = [code for code in order if counts[code]]
        ends = np.argsort(codes, kind="stable")
        starts = np.r_[0, counts.cumsum()]
        largest = []
        for code in order[:MOST]:
            rows = ends[starts[code] : starts[code + 1]]
            against = None if beside is None else beside.metrics(rows)
            largest.append(Segment(values[code], int(counts[code]), found.metrics(rows), against))
        rest = order[MOST:]
        return cls(by, largest, len(rest), int(counts[rest].sum()))

    def to_json(self) -> dict[str, Any]:
        return {
            "by": self.by,
            "values": [segment.to_json() for segment in self.largest],
            "more": {"values": self.more, "rows": self.more_rows},
        }
