"""How often each value of a stream was met: what a vocabulary is made of."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rechub_cli.data import ids
from rechub_cli.data.vocabulary import Vocabulary
from rechub_cli.errors import DataError
from rechub_cli.kernels.values import ValueIndex

_SMALLEST_MERGE = 1 << 16
_NO_DAY = -(2**31)  # of values whose day nobody wrote down


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
    _index: ValueIndex | None = None  # of the values held

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
        table = 0 if self._index is None else self._index.slots.nbytes
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
        held, (codes, n) = self.counts, self._numbered(waiting)
        self.counts = np.bincount(codes, np.concatenate([part for _, part, _ in self._waiting]), n).astype(np.int64)
        self.counts[: len(held)] += held
        if self.days is not None:
            last = np.full(n, _NO_DAY, np.int32)
            last[: len(held)] = self.days
            np.maximum.at(last, codes, np.concatenate([part for _, _, part in self._waiting if part is not None]))
            self.days = last
        self._waiting, self._n_waiting = [], 0

    def _numbered(self, waiting: pa.Array) -> tuple[np.ndarray, int]:
        """The place of each value among those held, which grow by the new ones, and how many are held then.

        In a compiled table where there is one; otherwise Arrow hashes all that is held anew.
        """
        held = waiting.slice(0, 0) if self.values is None else self.values
        if self._index is None:
            self._index = ValueIndex.of(held)
        if self._index is not None:
            codes = self._index.add(waiting)
            self.values = self._index.known
            return codes, len(self.values)
        encoded = pa.concat_arrays([held, waiting]).dictionary_encode()
        self.values = encoded.dictionary
        return encoded.indices.to_numpy(zero_copy_only=False)[len(held) :], len(self.values)

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
