"""From raw columns to ids and numbers: fitted once on the training rows, kept with the model, applied unchanged."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, SupportsInt

import numpy as np
import pyarrow as pa

from rechub_cli.data import cells, encoder_files, ids, labels, numbers
from rechub_cli.data.block import Block, Layout
from rechub_cli.data.fit import Clock, Fitted, Vocabularies, fit, moments_of
from rechub_cli.data.numbers import Moments, Transform
from rechub_cli.data.plan import FIRST_FIXED, Plan
from rechub_cli.data.reference import Reference
from rechub_cli.errors import DataError
from rechub_cli.schema import FIRST_UNSEEN, MISSING, Schema
from rechub_cli.spec.model import Datetime, Dense, Sequence, Sparse, Spec, Tower, Vector

if TYPE_CHECKING:
    from rechub_cli.data.chunk import Chunk, Rows
    from rechub_cli.data.history import EventStore

_TILE = 1 << 16  # rows that a thread lays out at a time


@dataclass(slots=True)
class Encoder:
    """A fitted encoder. Ids: 0 padding, 1 missing, then unseen values, then the vocabulary."""

    plan: Plan
    vocabularies: Vocabularies
    transforms: dict[str, Transform]
    bins: dict[str, tuple[float, ...]]
    events: EventStore | None = None  # of the log, for histories
    moments: dict[str, Moments] = field(default_factory=dict)  # of all rows so far, for a later fit
    reference: Reference | None = None  # what the columns were like, right after the fit
    schema: Schema = field(init=False)
    hash: str = field(init=False)  # of everything that decides what a row becomes
    _pool: ThreadPoolExecutor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.schema = self.plan.schema(self.vocabularies, self.bins)
        digests = {key: vocabulary.digest() for key, vocabulary in self.vocabularies.items()}
        state = encoder_files.described(self.plan, self.transforms, self.bins)
        text = json.dumps([state, digests, *([self.events.digest] if self.events else [])], sort_keys=True)
        self.hash = hashlib.sha256(text.encode()).hexdigest()
        self._pool = _threads()

    def __reduce__(self) -> tuple[Any, ...]:
        """Threads are left behind: every process has its own."""
        found = self.vocabularies, self.transforms, self.bins, self.events, self.moments, self.reference
        return Encoder, (self.plan, *found)

    @classmethod
    def fit(
        cls,
        spec: Spec,
        rows: Rows,
        progress: Callable[[int], None] | None = None,
        *,
        earlier: Encoder | None = None,
        fresh: Collection[str] = (),
        today: date | None = None,
    ) -> Encoder:
        """One streaming pass over the training rows; ``progress`` is told the rows read so far.

        Args:
            earlier: one to go on from: its ids stay, its features come first.
            fresh: features of it that are fitted anew.
            today: the day of the rows, for ids that expire, where the spec's ``time`` does not tell; by default today.

        Raises:
            DataError: a bad value, with its file and row. NoInput: there are no rows.
            SpecError: features that cannot be built. RunFailed: the vocabularies do not fit in memory.
        """
        plan, known = Plan.of(spec), None
        if earlier is not None:
            plan, known = plan.after(earlier.plan), earlier.fitted(plan, fresh)
        readers = (one for name, one in plan.features.items() if plan.column(name) == spec.time)
        unit = next((reader.unit for reader in readers if isinstance(reader, Datetime)), "s")
        day = ((today or datetime.now(UTC).date()) - date(1970, 1, 1)).days
        clock = Clock(spec.time, unit) if spec.time else Clock(today=day)
        with _threads() as pool:
            state = fit(plan, rows, pool, progress, known, clock)
            reference, found = state.reference(), state.finish(pool)
        return cls(plan, found.vocabularies, found.transforms, found.bins, moments=found.moments, reference=reference)

    def fitted(self, plan: Plan, fresh: Collection[str] = ()) -> Fitted:
        """What was found for the features that ``plan`` has too, but for the ``fresh``."""

        def kept(found: dict[str, Any]) -> dict[str, Any]:
            owners = {key: key if key in self.plan.features else key.rpartition(".")[0] for key in found}
            return {key: found[key] for key, owner in owners.items() if owner in plan.features and owner not in fresh}

        return Fitted(kept(self.vocabularies), kept(self.transforms), kept(self.bins), kept(self.moments))

    def of_tower(self, tower: Tower) -> Encoder:
        """The same, for one tower's features only; an item has no labels."""
        labels = {} if tower == "item" else self.plan.labels
        plan = replace(self.plan, tower=tower, labels=labels)
        if tower == "item":
            plan = replace(plan, weight=None, group=None)
        return replace(self, plan=plan, events=None if tower == "item" else self.events)

    def with_events(self, events: EventStore | None) -> Encoder:
        """The same, with the log that histories are made of."""
        return replace(self, events=events)

    def for_columns(self, there: Collection[str]) -> Encoder:
        """The same, for rows that have only these columns: without a time they see all events of their user."""
        return self.with_events(self.events.for_columns(there)) if self.events is not None else self

    @property
    def columns(self) -> list[str]:
        """The raw columns that features are read from, and those that histories go by."""
        keys = () if not self.plan.histories else self.events.keys if self.events else self.plan.keys
        return list(dict.fromkeys([*self.plan.feature_columns, *keys]))

    @property
    def label_columns(self) -> list[str]:
        """The raw columns of labels, weight and group."""
        return self.plan.label_columns

    def layout(self, labels: bool = True) -> Layout:
        plan = self.plan
        return Layout.of(
            self.schema,
            labels=labels,
            weight=plan.weight is not None,
            group=plan.group is not None,
            label_weights=bool(plan.label_weights),
        )

    def encode(self, chunk: Chunk, labels: bool = True) -> Block:
        """The rows of a chunk; without ``labels`` its label, weight and group columns are not looked at.

        Raises:
            DataError: a column is missing or of the wrong type, or a label is bad; with file, column and row.
        """
        table = chunk.table
        for column in [*self.columns, *(self.label_columns if labels else [])]:
            if table.schema.get_field_index(column) < 0:
                raise DataError(
                    f"{chunk.file}: there is no column {column}; columns there: {', '.join(table.column_names)}"
                )
        layout = self.layout(labels)
        columns = np.empty((layout.width, table.num_rows), np.int32)
        block = Block(layout, columns.T, {})
        histories = self.plan.histories
        jobs = [
            self._pool.submit(self._encode_feature, chunk, name, block)
            for name in self.plan.own
            if name not in histories
        ]
        if histories:
            if self.events is None:
                raise ValueError("histories need the events of a log: encoder.with_events(...)")
            self.events.fill(chunk, histories, block)
        if labels:
            self._encode_labels(chunk, block)
        for job in jobs:
            job.result()
        block.values = {name: block.values[name] for name in layout.sequences}
        for lengths, (name, values) in zip(columns[layout.lengths], block.values.items(), strict=True):
            block.empty[name] = len(lengths) - int(np.count_nonzero(lengths))
            block.totals[name] = len(values)
        block.rows = np.empty((table.num_rows, layout.width), np.int32)
        list(self._pool.map(partial(_transpose, columns, block.rows), range(0, table.num_rows, _TILE)))
        return block

    def _encode_feature(self, chunk: Chunk, name: str, block: Block) -> None:
        feature, column = self.plan.features[name], self.plan.column(name)
        values, layout = chunk.table.column(column), block.layout
        if isinstance(feature, Sparse):
            block.rows[:, self._sparse_place(name)] = self._ids(values, self.plan.owner(name), name, block)
        elif isinstance(feature, Sequence):
            items, lengths = cells.sequence(values, feature.separator, feature.max_len, column)
            block.values[name] = self._ids(items, self.plan.owner(name), name, block)
            block.rows[:, layout.lengths.start + layout.sequences.index(name)] = lengths
        elif isinstance(feature, Datetime):
            moments = moments_of(chunk, column, feature)
            for part in feature.parts:
                key, parts = f"{name}.{part}", cells.part(moments, part)
                if part in cells.PARTS:
                    out = parts.fill_null(MISSING - FIRST_FIXED).to_numpy(zero_copy_only=False) + FIRST_FIXED
                else:
                    out = self._ids(parts, key, key, block)
                block.rows[:, self._sparse_place(key)] = out
            _count(block.missing, name, moments.null_count)
        elif isinstance(feature, Vector):
            out, missing, wrong = numbers.vectors(values, feature.dim, column)
            if wrong is not None:
                found = len(values[wrong].as_py())
                raise DataError(
                    f"{chunk.locate(wrong)}: {column} has {found} numbers, and the spec says dim {feature.dim}"
                )
            start = self._dense_place(name)
            block.rows[:, start : start + feature.dim] = out.view(np.int32)
            _count(block.missing, name, 0 if missing is None else np.count_nonzero(missing))
        elif isinstance(feature, Dense):
            self._encode_number(numbers.floats(values, column), name, feature, block)

    def _encode_number(self, values: np.ndarray, name: str, feature: Dense, block: Block) -> None:
        if isinstance(feature.transform, dict):
            buckets = numbers.bucket(values, feature.transform["bucketize"])
            block.rows[:, self._sparse_place(name)] = np.where(buckets < 0, MISSING, buckets + FIRST_FIXED)
            _count(block.missing, name, np.count_nonzero(buckets < 0))
            return
        out, missing = self.transforms[name](values)
        block.rows[:, self._dense_place(name)] = out.view(np.int32)
        measured = out if feature.transform == "log1p" else values  # as in the fit
        block.totals[name] = float((measured if missing is None else measured[~missing]).sum(dtype=np.float64))
        if feature.flag_missing:
            flag = np.zeros(len(values), np.float32) if missing is None else missing.astype(np.float32)
            block.rows[:, self._dense_place(f"{name}.missing")] = flag.view(np.int32)
        _count(block.missing, name, 0 if missing is None else np.count_nonzero(missing))

    def _ids(self, values: pa.Array | pa.ChunkedArray, key: str, name: str, block: Block) -> np.ndarray:
        out, vocabulary = self.look_up(values, key, name), self.vocabularies[key]
        _count(block.missing, name, np.count_nonzero(out == MISSING))
        _count(block.unseen, name, np.count_nonzero((out >= FIRST_UNSEEN) & (out < vocabulary.first)))
        return out

    def look_up(self, values: pa.Array | pa.ChunkedArray, key: str, name: str) -> np.ndarray:
        """int32 (n,): ids of the values of column ``name`` by the vocabulary of the feature ``key``."""
        vocabulary = self.vocabularies[key]
        unique, codes = ids.positions(values, name)
        if codes is None and unique.type != vocabulary.type:  # conversion is slow: each value once
            unique, codes = ids.distinct(unique, name)
        out = vocabulary.look_up(unique, name)
        if codes is not None:
            out = np.append(out, np.int32(MISSING))[codes]
        return out

    def _encode_labels(self, chunk: Chunk, block: Block) -> None:
        plan, layout = self.plan, block.layout
        for place, (name, label) in enumerate(plan.labels.items()):
            out = labels.encode_label(chunk, label.column or name, label)
            block.rows[:, layout.labels.start + place] = out.view(np.int32)
        if plan.weight:
            block.rows[:, layout.weights.start] = labels.encode_weight(chunk, plan.weight).view(np.int32)
        for place, name in enumerate(plan.labels if plan.label_weights else ()):
            column = plan.label_weights.get(name)
            out = np.ones(len(block), np.float32) if column is None else labels.encode_weight(chunk, column)
            block.rows[:, layout.own_weights.start + place] = out.view(np.int32)
        if plan.group:
            block.rows[:, layout.groups] = labels.encode_group(chunk, plan.group).view(np.int32).reshape(-1, 2)

    def _sparse_place(self, name: str) -> int:
        return next(place for place, feature in enumerate(self.schema.sparse) if feature.name == name)

    def _dense_place(self, name: str) -> int:
        place = len(self.schema.sparse)
        for feature in self.schema.dense:
            if feature.name == name:
                break
            place += feature.width
        return place

    def save(self, folder: Path | str) -> None:
        """``encoder.json`` and one Parquet file for each vocabulary."""
        found = Fitted(self.vocabularies, self.transforms, self.bins, self.moments)
        encoder_files.save(Path(folder), self.plan, found, self.schema, self.with_events(None).hash, self.reference)

    @classmethod
    def load(cls, folder: Path | str) -> Encoder:
        """Raises RunFailed where the folder is not whole: every value is checked, and the whole against its hash."""
        with encoder_files.whole(folder):
            plan, found, saved = encoder_files.read(Path(folder))
            encoder = cls(plan, found.vocabularies, found.transforms, found.bins, moments=found.moments)
            if encoder.hash != saved:
                raise ValueError("its content does not match its hash")
        return encoder


def _transpose(columns: np.ndarray, rows: np.ndarray, start: int) -> None:
    """One tile of rows, small enough for the processor's cache."""
    for at in range(start, min(start + _TILE, len(rows)), 512):
        rows[at : at + 512] = columns[:, at : at + 512].T


def _count(counts: dict[str, int], name: str, n: SupportsInt) -> None:
    counts[name] = counts.get(name, 0) + int(n)


def _threads() -> ThreadPoolExecutor:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return ThreadPoolExecutor(min(cores, 8), "encode")
