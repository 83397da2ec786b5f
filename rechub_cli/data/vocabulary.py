"""A vocabulary: which values a column has, how often, and the id of each."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from rechub_cli.data import ids
from rechub_cli.data.stored import read_stored
from rechub_cli.errors import RunFailed
from rechub_cli.files import atomic
from rechub_cli.kernels.values import ValueIndex
from rechub_cli.schema import FIRST_UNSEEN, MISSING

_LARGE = 2  # times the values looked up: from here on a vocabulary is searched by sorted hashes


@dataclass(slots=True)
class Vocabulary:
    """Value ``values[i]`` has the id ``first + i`` for i < size; later values were too rare and count as unseen."""

    values: pa.Array  # canonical, without repeats
    counts: np.ndarray  # int64, per value
    size: int
    oov_buckets: int = 1
    days: np.ndarray | None = None  # int32, per value, since 1970: when it was last met, where that is kept
    _index: ValueIndex | None = field(default=None, repr=False, compare=False)
    _hashes: tuple[np.ndarray, np.ndarray | None] | None = field(default=None, repr=False)  # sorted, and their places
    _digest: str | None = field(default=None, init=False, repr=False, compare=False)

    @classmethod
    def empty(cls, oov_buckets: int) -> Vocabulary:
        return cls(pa.array([], ids.TEXT), np.zeros(0, np.int64), 0, oov_buckets)

    @property
    def type(self) -> pa.DataType:
        return self.values.type

    @property
    def first(self) -> int:
        return FIRST_UNSEEN + self.oov_buckets

    @property
    def n_ids(self) -> int:
        """Ids are 0 .. n_ids - 1, reserved ones included."""
        return self.first + self.size

    def look_up(self, values: pa.Array, column: str) -> np.ndarray:
        """int32 id per canonical value: null is missing; a value that is not there gets an unseen id by its hash."""
        converted = ids.convert(values, self.values.type, column)
        out = self._places(converted) + np.int32(self.first)
        if out.size == 0 or out.min() >= self.first:
            return out
        strange = out < self.first
        if values.null_count:
            missing = values.is_null().to_numpy(zero_copy_only=False)
            out[missing] = MISSING
            strange &= ~missing
        if self.oov_buckets == 1:
            out[strange] = FIRST_UNSEEN
        elif strange.any():
            hashes = hash_as(values.filter(pa.array(strange)), self.values.type, column)
            out[strange] = FIRST_UNSEEN + (hashes % np.uint64(self.oov_buckets)).astype(np.int32)
        return out

    def _places(self, values: pa.Array) -> np.ndarray:
        """int32: where each value stands in the vocabulary, -1 where it does not.

        They are found in a compiled table, where there is one. Otherwise Arrow hashes the whole vocabulary at each
        call. Where that is much larger than what is looked up, a binary search among sorted hashes, made once, is
        quicker; the values found are compared, so hashes may collide.
        """
        known = self.values.slice(0, self.size)
        index = self._index = self._index or (ValueIndex.of(known) if len(known) else None)
        if index is not None:
            return index.places(values)
        hashes = order = None
        if self.size > _LARGE * len(values):
            hashes, order = self._hashes = self._hashes or _sorted_hashes(known)
        if hashes is None or order is None:
            return pc.index_in(values, known).fill_null(-1).to_numpy(zero_copy_only=False)
        places = order[np.searchsorted(hashes, ids.stable_hash(values)).clip(max=self.size - 1)]
        same = pc.equal(known.take(pa.array(places)), values).fill_null(False)
        return np.where(same.to_numpy(zero_copy_only=False), places, np.int32(-1))

    def digest(self) -> str:
        if self._digest is not None:
            return self._digest
        state = hashlib.sha256(f"{self.values.type} {self.size} {self.oov_buckets} {len(self.values)}".encode())
        kept = pa.concat_arrays([self.values.slice(0, self.size)])  # a copy starts at offset 0
        state.update(ids.stable_hash(kept).tobytes())
        self._digest = state.hexdigest()
        return self._digest

    def save(self, path: Path) -> None:
        """Parquet: value, count, id (null where the value has none); last_seen, where that is kept."""
        numbers = np.arange(len(self.values), dtype=np.int32)
        table = pa.table(
            {
                "value": self.values,
                "count": self.counts,
                "id": pa.array(numbers + np.int32(self.first), mask=numbers >= self.size),
            }
        )
        if self.days is not None:
            table = table.append_column("last_seen", pa.array(self.days).cast(pa.date32()))
        with atomic(path) as file:
            pq.write_table(table, file, compression="zstd")

    @classmethod
    def load(cls, path: Path, kind: str, oov_buckets: int) -> Vocabulary:
        """Raises RunFailed where the file is not a vocabulary that ``save`` wrote."""
        try:
            table = read_stored(path)
            values, counts, numbers = (ids.whole(table.column(name)) for name in ("value", "count", "id"))
            values, counts = values.cast(ids.CANONICAL[kind]), counts.cast(pa.int64()).to_numpy()
            size = len(numbers) - numbers.null_count
            expected = np.arange(size) + FIRST_UNSEEN + oov_buckets
            if not np.array_equal(numbers.slice(0, size).to_numpy(zero_copy_only=False), expected):
                raise ValueError("ids are not in order")
            if values.null_count or pc.count_distinct(values).as_py() != len(values):
                raise ValueError("a value is null or stands twice")
            days = None
            if "last_seen" in table.column_names:
                days = ids.whole(table.column("last_seen")).cast(pa.int32()).to_numpy()
        except (OSError, KeyError, ValueError, pa.ArrowException) as error:
            raise RunFailed(f"{path} is damaged: {error}; train again or restore the run") from error
        return cls(values, counts, size, oov_buckets, days)


def _sorted_hashes(values: pa.Array) -> tuple[np.ndarray, np.ndarray | None]:
    """The hashes of the values in rising order, and the place of each; no places where two values have one hash."""
    hashes = ids.stable_hash(values)
    order = np.argsort(hashes).astype(np.int32)
    hashes = hashes[order]
    return hashes, order if (hashes[1:] != hashes[:-1]).all() else None


@dataclass(slots=True)
class Buckets:
    """Ids by hash, without a vocabulary: values may collide, nothing is unseen."""

    kind: str  # the canonical type of the fitted column
    n_buckets: int
    oov_buckets: int = 1

    @property
    def type(self) -> pa.DataType:
        return ids.CANONICAL[self.kind]

    @property
    def first(self) -> int:
        return FIRST_UNSEEN + self.oov_buckets

    @property
    def n_ids(self) -> int:
        return self.first + self.n_buckets

    def look_up(self, values: pa.Array, column: str) -> np.ndarray:
        hashes = hash_as(values, ids.CANONICAL[self.kind], column)
        out = (hashes % np.uint64(self.n_buckets)).astype(np.int32) + np.int32(self.first)
        if values.null_count:
            out[values.is_null().to_numpy(zero_copy_only=False)] = MISSING
        return out

    def digest(self) -> str:
        return f"{self.kind} {self.n_buckets} {self.oov_buckets}"


def hash_as(values: pa.Array, kind: pa.DataType, column: str) -> np.ndarray:
    """The hash of each value in the fitted type, so that "5" and 5 fall into one bucket; else of the value as it is."""
    converted = ids.convert(values, kind, column)
    hashes = ids.stable_hash(converted)
    if converted.null_count:
        lost = converted.is_null().to_numpy(zero_copy_only=False)
        hashes[lost] = ids.stable_hash(values)[lost]
    return hashes
