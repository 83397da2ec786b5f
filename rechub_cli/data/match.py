"""Rows of a retrieval model: what a user is, the item chosen, and the items the user already had."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa

from rechub_cli.data import cells
from rechub_cli.data.block import SEEN, Block, Layout
from rechub_cli.data.catalogue import Catalogue
from rechub_cli.data.chunk import CHUNK_ROWS, Chunk, Rows
from rechub_cli.data.encoder import Encoder
from rechub_cli.data.interactions import Columns, Interactions, Tally
from rechub_cli.errors import DataError
from rechub_cli.schema import Schema
from rechub_cli.spec.model import Sequence as SequenceSpec
from rechub_cli.spec.model import Spec


def fit_catalogue(
    spec: Spec,
    encoder: Encoder,
    train: Rows,
    items: Rows | None = None,
    progress: Callable[[int], None] | None = None,
) -> tuple[Catalogue, Interactions, Tally]:
    """The catalogue of a run with the counts of training, and who had what there.

    Args:
        encoder: fitted on ``train``, of both towers.
        items: one row an item; without it the different items of ``train``.

    Raises:
        SpecError, DataError, NoInput: as Columns.of, Catalogue.of and Interactions.build.
    """
    columns = Columns.of(spec)
    if items is not None:
        catalogue = Catalogue.of(encoder, columns.item, items)
    else:
        catalogue = Catalogue.of_log(encoder, columns.item, train, progress)
    interactions, counts, tally = Interactions.build([train], columns, catalogue, progress)
    if not tally.chosen:
        raise DataError(
            f"no row of train can teach anything: of {tally.n_rows:,} rows {tally.known:,} have an item of the "
            f"catalogue, and none of these is chosen; check item, the label and data.items"
        )
    return catalogue.counted(counts), interactions, tally


@dataclass(frozen=True, slots=True)
class TargetRows:
    """The rows of a log that a retrieval model learns from, or is measured by.

    Attributes:
        chosen: only rows that are interactions: they have an item, and their label, if there is one, is 1.
        known: only rows whose item is in the catalogue. Leave it out in evaluation, where others are misses.
        count: how many rows these are, where that is known.
    """

    rows: Rows
    columns: Columns
    catalogue: Catalogue
    chosen: bool = True
    known: bool = True
    count: int | None = None

    @property
    def schema(self) -> pa.Schema:
        return self.rows.schema

    def fingerprint(self) -> str:
        what = f"{self.rows.fingerprint()} {self.columns} {self.catalogue.hash} {self.chosen} {self.known}"
        return hashlib.sha256(what.encode()).hexdigest()

    def count_rows(self) -> int | None:
        return self.rows.count_rows() if not (self.known or self.chosen) else self.count

    def tables(self, columns: Sequence[str] | None = None, rows: int = CHUNK_ROWS) -> Iterator[Chunk]:
        names = self.schema.names if columns is None else list(dict.fromkeys(columns))
        looked_at = [self.columns.item, *([self.columns.label[0]] if self.columns.label else [])]
        for chunk in self.rows.tables(list(dict.fromkeys([*names, *looked_at])), rows):
            mask = np.ones(len(chunk), bool)
            if self.chosen:
                mask &= self.columns.chosen(chunk)
            if self.known:
                mask &= self.catalogue.places(chunk.table.column(self.columns.item)) >= 0
            if mask.any():
                yield chunk.select(names).take(mask)


@dataclass(slots=True)
class MatchEncoder:
    """An encoder of the user tower that also knows the item of a row and the items of its user.

    It has the face of an Encoder, so that the cache and the loaders take it as one. Values of a feature of the role
    ``negatives`` are places of the catalogue, and those that are not in it are left out.

    Attributes:
        encoder: of the user tower, its histories bound.
        item: the column of the target, whose place fills ``Batch.targets`` (-1: not in the catalogue); None: no
            target.
        user, seen: the column of users and who had what: fills ``Batch.seen``.
    """

    encoder: Encoder
    catalogue: Catalogue
    item: str | None = None
    user: str | None = None
    seen: Interactions | None = None
    schema: Schema = field(init=False)
    hash: str = field(init=False)
    _past: int | None = field(init=False, repr=False)  # the sequence that tells how many events came before

    def __post_init__(self) -> None:
        self.schema = self.encoder.schema
        seen = self.seen.hash if self.seen is not None else ""
        what = f"{self.encoder.hash} {self.catalogue.hash} {self.item} {self.user} {seen}"
        self.hash = hashlib.sha256(what.encode()).hexdigest()
        features, item = self.encoder.plan.features, self.catalogue.item
        self._past = _past(self.schema, {name for name in features if (features[name].column or name) == item})

    @property
    def columns(self) -> list[str]:
        """The raw columns that features, the target and the seen items are read from."""
        own = [self.item, self.user if self.seen is not None else None]
        return list(dict.fromkeys([*self.encoder.columns, *filter(None, own)]))

    @property
    def label_columns(self) -> list[str]:
        return self.encoder.label_columns

    def layout(self, labels: bool = True) -> Layout:
        layout = self.encoder.layout(labels)
        if self.seen is not None:
            layout = replace(layout, sequences=(*layout.sequences, SEEN))
        return replace(layout, target=self.item is not None)

    def encode(self, chunk: Chunk, labels: bool = True) -> Block:
        """As ``Encoder.encode``."""
        block = self.encoder.encode(chunk, labels)
        block.layout = self.layout(labels)
        lengths = block.layout.lengths
        for name, feature in self.encoder.plan.features.items():
            if name in block.values and isinstance(feature, SequenceSpec) and feature.role == "negatives":
                column = lengths.start + block.layout.sequences.index(name)
                block.values[name], block.rows[:, column] = self._negatives(chunk, name, feature)
        added: list[np.ndarray] = []
        if self.seen is not None and self.user is not None:
            block.values[SEEN], n_seen = self.seen.of(_column(chunk, self.user), self.user)
            added.append(n_seen)
        if self.item is not None:
            past = 0 if self._past is None else block.rows[:, lengths.start + self._past]
            added.append(np.broadcast_to(past, len(chunk)))
            places = self.catalogue.places(_column(chunk, self.item))
            block.unseen.setdefault(self.item, int(np.count_nonzero(places < 0)))
            added.append(places)
        if added:
            block.rows = np.concatenate([block.rows, np.stack(added, axis=1).astype(np.int32)], axis=1)
        return block

    def _negatives(self, chunk: Chunk, name: str, feature: SequenceSpec) -> tuple[np.ndarray, np.ndarray]:
        column = feature.column or name
        values, lengths = cells.sequence(chunk.table.column(column), feature.separator, feature.max_len, column)
        places = self.catalogue.places(values)
        rows = np.repeat(np.arange(len(lengths)), lengths)[places >= 0]
        return places[places >= 0].astype(np.int32), np.bincount(rows, minlength=len(lengths))


def _column(chunk: Chunk, name: str) -> pa.ChunkedArray:
    if chunk.table.schema.get_field_index(name) < 0:
        there = ", ".join(chunk.table.column_names)
        raise DataError(f"{chunk.file}: there is no column {name}; columns there: {there}")
    return chunk.table.column(name)


def _past(schema: Schema, items: set[str]) -> int | None:
    """The place of the sequence that holds a user's past: a history, else one that shares ``items``, else the first."""
    inputs = [(place, feature) for place, feature in enumerate(schema.sequences) if feature.role == "input"]
    places = [place for place, feature in inputs if feature.history is not None]
    places += [place for place, feature in inputs if feature.shares in items]
    places += [place for place, _ in inputs]
    return places[0] if places else None
