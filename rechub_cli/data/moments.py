"""Times as whole numbers that keep their order, and where to cut many of them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from types import TracebackType

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rechub_cli.data import cells
from rechub_cli.data.chunk import Chunk
from rechub_cli.data.types import is_text, kind, plain
from rechub_cli.errors import DataError

_BLOCK = 1 << 20
_A_DAY = {"s": 86_400, "ms": 86_400_000, "us": 86_400_000_000, "ns": 86_400_000_000_000}
_LAST_DAY = 2_932_896  # 9999-12-31


def instants(chunk: Chunk, column: str) -> np.ndarray:
    """A column of times (numbers, moments, dates, ISO text) as int64 in the same order, for comparison only.

    Raises:
        DataError: a null, or text that is no moment; with file and row.
    """
    values = _given(chunk, column)
    if pa.types.is_floating(values.type):
        bits = (values.cast(pa.float64()).to_numpy() + 0.0).view(np.int64)
        return bits ^ ((bits >> 63) & np.int64(2**63 - 1))  # as integers, negative floats count down
    if pa.types.is_date32(values.type):
        values = values.cast(pa.int32())
    return _integers(values, chunk, column)


def clock(chunk: Chunk, column: str) -> tuple[np.ndarray, bool]:
    """Times on one scale: microseconds since 1970 UTC (and True), or plain numbers, int64 or float64 (and False).

    Raises:
        DataError: as ``instants``.
    """
    values = _given(chunk, column)
    if pa.types.is_floating(values.type):
        return np.asarray(values.cast(pa.float64()).to_numpy()), False
    if pa.types.is_integer(values.type):
        return _integers(values, chunk, column), False
    zone = values.type.tz if pa.types.is_timestamp(values.type) else None
    return _integers(values.cast(pa.timestamp("us", zone), safe=False), chunk, column), True


def days(chunk: Chunk, column: str, unit: str = "s") -> np.ndarray:
    """int32 (n,): the days of a column of times, since 1970 UTC; plain numbers count ``unit`` since then.

    Raises:
        DataError: as ``instants``; or the numbers cannot be of that unit.
    """
    times, moments = clock(chunk, column)
    found = np.floor_divide(times, _A_DAY["us" if moments else unit])
    far = np.flatnonzero(np.abs(found) > _LAST_DAY)
    if len(far):
        raise DataError(
            f"{chunk.locate(int(far[0]))}: {column} is {times[far[0]]}, which is no number of {unit} since 1970, as "
            "`expire` needs; name the unit with a datetime feature of that column"
        )
    return found.astype(np.int32)


def _given(chunk: Chunk, column: str) -> pa.Array:
    """Numbers or moments, none null."""
    values = chunk.table.column(column)
    type = plain(values.type)
    values = values.cast(type).combine_chunks() if values.type != type else values.combine_chunks()
    if isinstance(values, pa.ChunkedArray):  # combining no chunks, in some versions
        values = pa.concat_arrays(values.chunks) if values.num_chunks else pa.array([], type)
    if is_text(type):
        values = _parsed(values, chunk, column)
    if pa.types.is_floating(values.type):
        values = pc.if_else(pc.is_nan(values), pa.scalar(None, values.type), values)
    if values.null_count:
        row = pc.index(pc.is_null(values), True).as_py()
        raise DataError(
            f"{chunk.locate(row)}: column {column} is null, which has no place in time; filter such rows out"
        )
    are = (pa.types.is_floating, pa.types.is_integer, pa.types.is_timestamp, pa.types.is_date)
    if not any(such(values.type) for such in are):
        raise DataError(f"{chunk.file}: column {column} is of kind {kind(type)}, which is no time")
    return values


def _integers(values: pa.Array, chunk: Chunk, column: str) -> np.ndarray:
    try:
        return np.asarray(values.cast(pa.int64()).to_numpy())
    except pa.ArrowInvalid as error:
        raise DataError(f"{chunk.file}: column {column}: {error}") from error


def _parsed(values: pa.Array, chunk: Chunk, column: str) -> pa.Array:
    """ISO text as moments; what says no zone counts as UTC."""
    moments, bad = cells.moments(values, "s", column)
    if bad is not None:
        raise DataError(f"{chunk.locate(bad)}: column {column} is {values[bad]}, which is no moment")
    return moments


class Instants:
    """Many int64, kept in a temporary file: private memory does not grow with their number."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="rechub-times-")  # noqa: SIM115 (closed by __exit__)
        self.count = 0

    def __enter__(self) -> Instants:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()

    def add(self, values: np.ndarray) -> None:
        self._file.write(np.ascontiguousarray(values, np.int64).data)
        self.count += len(values)

    def blocks(self) -> Iterator[np.ndarray]:
        values = self._values()
        for start in range(0, self.count, _BLOCK):
            yield values[start : start + _BLOCK]

    def cut(self, wanted: int, before: int | None = None) -> int:
        """The value from which on nearest to ``wanted`` of them are (at least one); smaller than ``before``.

        Raises:
            DataError: none is smaller than ``before``.
        """
        values = self._values()
        place = self.count - wanted
        values.partition(place)
        value = int(values[place])
        above = sum(int(np.count_nonzero(block > value)) for block in self.blocks())
        at_least = sum(int(np.count_nonzero(block >= value)) for block in self.blocks())
        cut = value + 1 if above and wanted - above < at_least - wanted else value
        if before is None or cut < before:
            return cut
        smaller = [int(block[block < before].max()) for block in self.blocks() if (block < before).any()]
        if not smaller:
            raise DataError("data.split: too few different times for these parts")
        return max(smaller)

    def _values(self) -> np.ndarray:
        self._file.flush()
        return np.memmap(self._file, np.int64, "r+", shape=(self.count,))
