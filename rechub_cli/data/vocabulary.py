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
from rechub_cli.errors import DataError, RunFailed
from rechub_cli.files import atomic
from rechub_cli.kernels.text import TextIndex
from rechub_cli.schema import FIRST_UNSEEN, MISSING

_SMALLEST_MERGE = 1 << 16
_NO_DAY = -(2**31)  # of values whose day nobody wrote down
_LARGE = 2  # times the values looked up: from here on a vocabulary is searched by sorted hashes


@dataclass(slots=True)
class Counter:
    """Counts the values of a stream; what it holds grows with the different values only.

    It is a mergeable summary: ``add`` takes the different values of any part and their counts.

    Attributes:
        known: so many of the first values have ids already, of a vocabulary that grows.
        days: int32 per value, since 1970: when it was last met. None: nobody asks.
    """

    values: pa.Array | None = None
    counts: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    known: int = 0
    days: np.ndarray | None = None
    _waiting: list[tuple[pa.Array, np.ndarray, np.ndarray | None]] = field(default_factory=list)
    _n_waiting: int = 0
    _texts: TextIndex | None = None  # of the values held

    @classmethod
    def after(cls, vocabulary: Vocabulary | None, dated: bool) -> Counter:
        """One that goes on from what a vocabulary has counted; ``dated``: values come with their days."""
        if vocabulary is None or not len(vocabulary.values):
            return cls(days=np.zeros(0, np.int32) if dated else None)
        days = None
        if dated:
            unknown = np.full(len(vocabulary.values), _NO_DAY, np.int32)
            days = unknown if vocabulary.days is None else vocabulary.days
        return cls(vocabulary.values, vocabulary.counts, vocabulary.size, days)

    @property
    def nbytes(self) -> int:
        held = self._waiting if self.values is None else [(self.values, self.counts, self.days), *self._waiting]
        table = 0 if self._texts is None else self._texts.slots.nbytes
        return table + sum(int(values.nbytes) + counts.nbytes for values, counts, _ in held)

    def add(self, values: pa.Array, counts: np.ndarray, column: str, days: np.ndarray | None = None) -> None:
        """Canonical values, how often each was met, and when last."""
        kind = (
            self.values.type if self.values is not None else self._waiting[0][0].type if self._waiting else values.type
        )
        if values.type != kind:
            values, counts = self._unify(values, counts, kind, column)
        self._waiting.append((values, counts, days))
        self._n_waiting += len(values)
        if self._n_waiting > max(_SMALLEST_MERGE, len(self.counts) // 4):
            self.merge()

    def _unify(
        self, values: pa.Array, counts: np.ndarray, kind: pa.DataType, column: str
    ) -> tuple[pa.Array, np.ndarray]:
        """Columns that share a vocabulary may differ in width, not in kind."""
        converted = ids.convert(values, kind, column)
        if converted.null_count:
            of, remedy = "the column whose vocabulary it shares", "give both columns the same type"
            if self.known:
                of, remedy = "the run that this one starts from", "give it the type that it had"
            raise DataError(
                f"column {column}: value {values.filter(converted.is_null())[0]} has no counterpart among the {kind} "
                f"values of {of}; {remedy}"
            )
        return converted, counts

    def merge(self) -> None:
        """The values held come first and keep their order."""
        if not self._waiting:
            return
        waiting = pa.concat_arrays([part for part, _, _ in self._waiting])
        codes, held = self._numbered(waiting), self.counts
        n = len(self.values) if self.values is not None else 0
        self.counts = np.bincount(codes, np.concatenate([part for _, part, _ in self._waiting]), n).astype(np.int64)
        self.counts[: len(held)] += held
        if self.days is not None:
            last = np.full(n, _NO_DAY, np.int32)
            last[: len(held)] = self.days
            np.maximum.at(last, codes, np.concatenate([part for _, _, part in self._waiting if part is not None]))
            self.days = last
        self._waiting, self._n_waiting = [], 0

    def _numbered(self, waiting: pa.Array) -> np.ndarray:
        """The place of each value among those held, which grow by the new ones: in a compiled table, or by Arrow."""
        held = waiting.slice(0, 0) if self.values is None else self.values
        if self._texts is None:
            self._texts = TextIndex.of(held)
        if self._texts is not None:
            codes = self._texts.add(waiting)
            self.values = self._texts.known
            return codes
        encoded = pa.concat_arrays([held, waiting]).dictionary_encode()
        self.values = encoded.dictionary
        return encoded.indices.to_numpy(zero_copy_only=False)[len(held) :]

    def finish(
        self,
        *,
        min_count: int,
        max_vocab: int | None,
        oov_buckets: int,
        expire: int | None = None,
        today: int | None = None,
    ) -> Vocabulary:
        """Ids by falling frequency, equal frequencies by value; values that have ids stay before all others.

        A value that was last met more than ``expire`` days before ``today`` leaves, and those behind it move up.
        """
        self.merge()
        values = self.values if self.values is not None else pa.array([], ids.TEXT)
        counts, days, known = self.counts, self.days, self.known
        if values.type == ids.FLOAT and not known:  # integers that came as floats, because some were null
            integers = ids.convert(values, ids.INT, "")
            if integers.null_count == 0:
                values = integers
        if days is not None and today is not None:
            days = np.where(days == _NO_DAY, np.int32(today), days)
            if expire is not None:
                stay = np.flatnonzero(days >= today - expire)
                values, counts, days = values.take(pa.array(stay)), counts[stay], days[stay]
                known = int(np.searchsorted(stay, known))
        order = pc.sort_indices(
            pa.table({"count": counts[known:], "value": values.slice(known)}),
            [("count", "descending"), ("value", "ascending")],
        )
        places = np.concatenate([np.arange(known), order.to_numpy() + known]).astype(np.int64)
        counts = counts[places]
        size = known + int(np.searchsorted(-counts[known:], -min_count, side="right"))
        size = max(known, min(size, max_vocab or size))
        return Vocabulary(
            values.take(pa.array(places)), counts, size, oov_buckets, days=None if days is None else days[places]
        )


@dataclass(slots=True)
class Vocabulary:
    """Value ``values[i]`` has the id ``first + i`` for i < size; later values were too rare and count as unseen."""

    values: pa.Array  # canonical, without repeats
    counts: np.ndarray  # int64, per value
    size: int
    oov_buckets: int = 1
    days: np.ndarray | None = None  # int32, per value, since 1970: when it was last met, where that is kept
    _texts: TextIndex | None = field(default=None, repr=False, compare=False)
    _index: tuple[np.ndarray, np.ndarray | None] | None = field(default=None, repr=False)  # sorted hashes, their places
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

        Texts are found in a compiled table, where there is one. Otherwise Arrow hashes the whole vocabulary at each
        call. Where that is much larger than what is looked up, a binary search among sorted hashes, made once, is
        quicker; the values found are compared, so hashes may collide.
        """
        known = self.values.slice(0, self.size)
        texts = self._texts = self._texts or (TextIndex.of(known) if len(known) else None)
        if texts is not None:
            return texts.places(values)
        hashes = order = None
        if self.size > _LARGE * len(values):
            hashes, order = self._index = self._index or _sorted_hashes(known)
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
