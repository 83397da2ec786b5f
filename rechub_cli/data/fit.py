"""One streaming pass over the training rows: vocabularies, statistics, quantiles.

A fit can go on from an earlier one. Ids are append-only then, what was counted counts on, and transforms and bins stay
as they are, so that weights keep their meaning; those of a feature that says ``statistics: continue`` move with its
numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, SupportsInt

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rechub_cli.data import cells, ids, labels
from rechub_cli.data.counter import Counter
from rechub_cli.data.memory import available, tidied
from rechub_cli.data.moments import days
from rechub_cli.data.numbers import Moments, RowSample, Transform, bins, floats, signed_log1p
from rechub_cli.data.plan import Plan
from rechub_cli.data.reference import Reference
from rechub_cli.data.vocabulary import Buckets, Vocabulary
from rechub_cli.errors import DataError, NoInput, RunFailed
from rechub_cli.spec.model import Datetime, Dense, Sequence, Sparse, Vector

CHUNK_ROWS = 1 << 16  # enough that the work is in Arrow and numpy, few enough that memory stays small

if TYPE_CHECKING:
    from rechub_cli.data.chunk import Chunk, Rows

Vocabularies = dict[str, Vocabulary | Buckets]
Edges = dict[str, tuple[float, ...]]


@dataclass(frozen=True, slots=True)
class Fitted:
    """What a fit finds."""

    vocabularies: Vocabularies = field(default_factory=dict)
    transforms: dict[str, Transform] = field(default_factory=dict)
    bins: Edges = field(default_factory=dict)
    moments: dict[str, Moments] = field(default_factory=dict)  # of the numbers behind the transforms


@dataclass(frozen=True, slots=True)
class Clock:
    """How a fit tells the day of a row, for ids that expire."""

    column: str | None = None  # of times
    unit: str = "s"  # of times that are plain numbers
    today: int | None = None  # since 1970: the day of all rows, where no column tells


class Fit:
    """What is known of the columns so far."""

    def __init__(self, plan: Plan, earlier: Fitted | None = None, clock: Clock | None = None) -> None:
        self.plan = plan
        self.earlier = earlier or Fitted()
        self.clock = clock or Clock()
        self.today = self.clock.today
        self.counters: dict[str, Counter] = {}
        self.kinds: dict[str, pa.DataType] = {}  # of hashed columns
        self.moments = {
            name: Moments()
            for name, feature in plan.features.items()
            if isinstance(feature, Dense) and not isinstance(feature.transform, dict)
        }
        self.frozen = {name for name in self.moments if name in self.earlier.transforms and not self._goes_on(name)}
        self.sample = RowSample()
        self.n_rows = 0
        self.missing: dict[str, int] = {}  # rows without a value; of a sequence: that are empty
        self.lengths: dict[str, int] = {}  # how many ids a sequence has in all
        # By vocabulary: (column, separator) -> max_len. Features that read the same cells alike are counted once.
        self.sources: dict[str, dict[tuple[str, str | None], int]] = {}
        self.readers: dict[tuple[str, str, str | None], dict[str, int]] = {}  # those features: name -> max_len
        for name, feature in plan.features.items():
            if isinstance(feature, Sparse | Sequence):
                cell = feature.separator if isinstance(feature, Sequence) else None
                longest = feature.max_len if isinstance(feature, Sequence) else 0
                sources = self.sources.setdefault(plan.owner(name), {})
                key = (plan.column(name), cell)
                sources[key] = max(longest, sources.get(key, 0))
                self.readers.setdefault((plan.owner(name), *key), {})[name] = longest

        self.expires = {owner for owner in self.sources if plan.features[owner].expire}  # type: ignore[union-attr]
        for owner, vocabulary in self.earlier.vocabularies.items():
            if isinstance(vocabulary, Vocabulary):
                self.counters[owner] = Counter.after(vocabulary, owner in self.expires)

    def _goes_on(self, name: str) -> bool:
        feature = self.plan.features[name]
        return isinstance(feature, Dense) and feature.statistics == "continue"

    def add(self, chunk: Chunk, pool: ThreadPoolExecutor) -> None:
        sampled: dict[str, np.ndarray] = {}
        when = self._days(chunk) if self.expires else None
        jobs = [pool.submit(self._count_ids, chunk, owner, when) for owner in self.sources]
        for name, feature in self.plan.features.items():
            if isinstance(feature, Datetime):
                jobs.append(pool.submit(self._count_parts, chunk, name, feature))
            elif isinstance(feature, Dense):
                jobs.append(pool.submit(self._measure, chunk, name, feature, sampled))
            elif isinstance(feature, Vector):
                self._miss(name, chunk.table.column(self.plan.column(name)).null_count)
        for job in jobs:
            job.result()
        self.n_rows += chunk.table.num_rows
        self.sample.add({name: sampled[name] for name in sorted(sampled)}, chunk.table.num_rows)
        labels.check_chunk(chunk, self.plan)
        self._check_memory()

    def _days(self, chunk: Chunk) -> np.ndarray:
        """int32 (n,): the day of each row. Raises DataError where there is no telling."""
        if self.clock.column is None:
            return np.full(len(chunk), self.clock.today, np.int32)
        found = days(chunk, self.clock.column, self.clock.unit)
        self.today = max(int(found.max()), -(2**31) if self.today is None else self.today)
        return found

    def _check_memory(self) -> None:
        """Sorting a vocabulary by frequency takes about what it holds twice more."""
        sizes = {name: counter.nbytes for name, counter in self.counters.items()}
        needed, left = 2 * sum(sizes.values()), available()
        if left is not None and needed > left:
            largest = sorted(sizes, key=lambda name: -sizes[name])[:3]
            raise RunFailed(
                f"the vocabularies need {needed / 1e9:,.1f} GB more of memory, and {left / 1e9:,.1f} GB is left; the "
                f"largest are {', '.join(largest)}: give them hash_buckets, which keep no vocabulary"
            )

    def _count_ids(self, chunk: Chunk, owner: str, when: np.ndarray | None) -> None:
        feature = self.plan.features[owner]
        when = when if owner in self.expires else None
        for (column, separator), max_len in self.sources[owner].items():
            values, whens = chunk.table.column(column), when
            readers = self.readers[owner, column, separator]
            if separator is not None:
                values, lengths = cells.sequence(values, separator, max_len, column)
                whens = None if when is None else np.repeat(when, lengths)
                for name, longest in readers.items():
                    self._miss(name, len(lengths) - np.count_nonzero(lengths))
                    n_ids = int(np.minimum(lengths, longest).sum())
                    self.lengths[name] = self.lengths.get(name, 0) + n_ids
            if feature.hash_buckets:  # type: ignore[union-attr]
                kind = ids.canonical_type(values.type, column)
                self.kinds.setdefault(owner, kind)
                given = len(values) - n_null(values)
            else:
                given = self._count(owner, values, column, whens)
            if separator is None:
                for name in readers:
                    self._miss(name, len(values) - given)

    def _count_parts(self, chunk: Chunk, name: str, feature: Datetime) -> None:
        values = moments_of(chunk, self.plan.column(name), feature)
        self._miss(name, values.null_count)
        for part in feature.parts:
            if part not in cells.PARTS:
                self._count(f"{name}.{part}", cells.part(values, part), name)

    def _count(self, key: str, values: pa.Array | pa.ChunkedArray, column: str, when: np.ndarray | None = None) -> int:
        """How many of the values are not null. ``when``: the day of each value."""
        if key not in self.counters:
            self.counters[key] = Counter.after(None, when is not None)
        if when is None:
            different, counts = ids.tally(values, column)
            self.counters[key].add(different, counts, column)
        else:
            different, counts, _, last = ids.tally_days(values, when, column)
            self.counters[key].add(different, counts, column, last)
        return int(counts.sum())

    def _miss(self, name: str, n: SupportsInt) -> None:
        self.missing[name] = self.missing.get(name, 0) + int(n)

    def _measure(self, chunk: Chunk, name: str, feature: Dense, sampled: dict[str, np.ndarray]) -> None:
        column = self.plan.column(name)
        values = floats(chunk.table.column(column), column)
        if name not in self.moments:  # bucketized
            self._miss(name, np.count_nonzero(np.isnan(values)))
            return
        if (feature.transform == "quantile" or feature.embedding == "piecewise_linear") and name not in self.frozen:
            sampled[name] = values
        self.moments[name].add(signed_log1p(values) if feature.transform == "log1p" else values)

    def reference(self) -> Reference:
        """What the columns were like, for later rows to be compared with; before ``finish`` adds earlier ones."""
        counted = [name for name in self.plan.features if name in self.missing]
        columns = {name: {"missing": self.missing[name] / self.n_rows} for name in counted}
        for name, n_ids in self.lengths.items():
            columns[name]["length"] = n_ids / self.n_rows
        for name, moments in self.moments.items():
            columns[name] = {"missing": 1 - moments.count / self.n_rows}
            if moments.count and math.isfinite(moments.std):
                columns[name] |= {"mean": moments.mean, "std": moments.std}
        return Reference(self.n_rows, columns)

    def finish(self, pool: ThreadPoolExecutor) -> Fitted:
        keys = [*self.sources, *(key for key in self.counters if key not in self.sources)]
        vocabularies: Vocabularies = dict(zip(keys, pool.map(self._vocabulary, keys), strict=True))
        found = Fitted(vocabularies)
        for name, moments in self.moments.items():
            feature, known = self.plan.features[name], self.earlier.moments.get(name)
            assert isinstance(feature, Dense)
            if known is not None:
                moments.merge(known)
            if known is not None or name not in self.earlier.transforms:
                found.moments[name] = moments  # of all rows ever, or not at all
            if name in self.frozen:
                found.transforms[name] = self.earlier.transforms[name]
                if name in self.earlier.bins:
                    found.bins[name] = self.earlier.bins[name]
                continue
            sample = self.sample.values(name)
            found.transforms[name] = Transform.fit(str(feature.transform), moments, sample)
            if feature.embedding == "piecewise_linear":
                found.bins[name] = bins(found.transforms[name].apply(sample), feature.n_bins)
        pa.default_memory_pool().release_unused()
        return found

    def _vocabulary(self, key: str) -> Vocabulary | Buckets:
        feature = self.plan.features.get(key)
        if not isinstance(feature, Sparse | Sequence):  # the year or the date of a moment
            return self.counters.pop(key).finish(min_count=1, max_vocab=None, oov_buckets=1)
        earlier = self.earlier.vocabularies.get(key)
        if feature.hash_buckets:
            if isinstance(earlier, Buckets):
                return earlier
            kind = ids.INT if self.kinds[key] == ids.FLOAT else self.kinds[key]  # a whole float hashes as its integer
            return Buckets(str(kind), feature.hash_buckets, feature.oov_buckets)
        return self.counters.pop(key).finish(
            min_count=feature.min_count,
            max_vocab=feature.max_vocab,
            oov_buckets=feature.oov_buckets,
            expire=feature.expire,
            today=self.today,
        )


def fit(
    plan: Plan,
    rows: Rows,
    pool: ThreadPoolExecutor,
    progress: Callable[[int], None] | None,
    earlier: Fitted | None = None,
    clock: Clock | None = None,
) -> Fit:
    state, n_rows = Fit(plan, earlier, clock), 0
    times = [state.clock.column] if state.expires and state.clock.column else []
    columns = list(dict.fromkeys([*plan.feature_columns, *plan.label_columns, *times]))
    for chunk in tidied(rows.tables(columns=columns, rows=CHUNK_ROWS)):
        if chunk.table.num_rows:
            state.add(chunk, pool)
        n_rows += chunk.table.num_rows
        if progress:
            progress(n_rows)
    if n_rows == 0:
        raise NoInput("the training data has no rows; check the files and the filter")
    return state


def n_null(values: pa.Array | pa.ChunkedArray) -> int:
    """How many are null or NaN."""
    n = int(values.null_count)
    return n + (pc.sum(pc.is_nan(values)).as_py() or 0) if pa.types.is_floating(values.type) else n


def moments_of(chunk: Chunk, column: str, feature: Datetime) -> pa.Array:
    values, bad = cells.moments(chunk.table.column(column), feature.unit, column)
    if bad is not None:
        given = chunk.table.column(column)[bad]
        raise DataError(
            f"{chunk.locate(bad)}: {column} is {given}, which is no moment; give ISO 8601 text or timestamps"
        )
    return values
