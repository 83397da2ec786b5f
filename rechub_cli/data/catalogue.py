"""The catalogue: every item that can be recommended, its place, its encoded columns, how often training chose it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from torch import Tensor

from rechub_cli.batch import Batch
from rechub_cli.data import ids
from rechub_cli.data.batches import join
from rechub_cli.data.chunk import Chunk
from rechub_cli.data.encoder import Encoder
from rechub_cli.data.fit import CHUNK_ROWS
from rechub_cli.data.join import LookUp
from rechub_cli.data.source import Source, Stats
from rechub_cli.data.stored import read_stored
from rechub_cli.data.types import plain
from rechub_cli.data.vocabulary import Vocabulary
from rechub_cli.errors import DataError, NoInput, RunFailed
from rechub_cli.files import atomic
from rechub_cli.schema import FIRST_UNSEEN, Schema
from rechub_cli.spec.model import Join

if TYPE_CHECKING:
    from rechub_cli.data.chunk import Rows

_COUNTS = "rechub.count"  # the column of a kept catalogue that holds the counts


@dataclass(slots=True)
class Catalogue:
    """I items; an item's *place* is its row here, 0 .. I - 1.

    Only these items are candidates. An item of which the model knows nothing, because all its columns hold values that
    training never had, is none: its score would be chance.
    """

    item: str  # the column of ids
    table: pa.Table  # raw: the ids and the columns that item features read
    batch: Batch  # encoded, of schema.item
    counts: Tensor  # int64 (I,): training interactions
    left_out: int = 0  # items of which nothing is known
    _index: Vocabulary = field(init=False, repr=False)

    def __post_init__(self) -> None:
        values = ids.canonical(ids.whole(self.ids), self.item)
        self._index = Vocabulary(values, np.zeros(len(values), np.int64), len(values))

    @classmethod
    def of(cls, encoder: Encoder, item: str, rows: Rows, known: Catalogue | None = None) -> Catalogue:
        """The items of a table that has one row for each, in its order.

        Args:
            encoder: a fitted one, of both towers.
            item: the column of ids.
            known: the catalogue of training, whose counts the same items keep.

        Raises:
            DataError: an id is null or stands twice, or a column of an item feature is missing.
            NoInput: there is no item, or the model knows none of them.
        """
        columns = list(dict.fromkeys([item, *encoder.of_tower("item").columns]))
        missing = [name for name in columns if name not in rows.schema.names]
        if missing:
            raise DataError(
                f"the table of items lacks the column {missing[0]}, which an item's vector needs; "
                f"columns there: {', '.join(rows.schema.names[:20])}"
            )
        chunks = list(rows.tables(columns=columns))
        if not chunks:
            raise NoInput("the table of items has no rows; check data.items")
        _check_ids(chunks, item)
        catalogue = cls._encoded(encoder, item, pa.concat_tables([chunk.table for chunk in chunks]), chunks[0].file)
        return catalogue if known is None else catalogue.counted(known.counts_of(catalogue.ids))

    @classmethod
    def of_log(
        cls, encoder: Encoder, item: str, rows: Rows, progress: Callable[[int], None] | None = None
    ) -> Catalogue:
        """The different items of a log by rising id, each with the columns of its last row."""
        columns = list(dict.fromkeys([item, *encoder.of_tower("item").columns]))
        return cls._encoded(encoder, item, _last_rows(rows, item, columns, progress), "the items of the log")

    @classmethod
    def _encoded(cls, encoder: Encoder, item: str, table: pa.Table, file: str) -> Catalogue:
        tower = encoder.of_tower("item")
        table = _tidy(table, item)
        pieces = (Chunk(table.slice(start, CHUNK_ROWS), file, start) for start in range(0, len(table), CHUNK_ROWS))
        batch = join(tower.layout(labels=False), [tower.encode(piece, labels=False) for piece in pieces])
        known = known_rows(tower.schema, batch)
        if not known.any():
            raise NoInput(f"{file}: the model knows none of the {len(table):,} items: training never had their values")
        if not known.all():
            table, batch = table.filter(pa.array(known)), batch.take(torch.from_numpy(np.flatnonzero(known)))
        counts = torch.zeros(len(batch), dtype=torch.int64)
        return cls(item, table, batch, counts, len(known) - len(table))

    def __len__(self) -> int:
        return len(self.batch)

    @property
    def ids(self) -> pa.ChunkedArray:
        """The user's own ids, by place."""
        return self.table.column(self.item)

    @property
    def hash(self) -> str:
        """Of the ids and their order."""
        return hashlib.sha256(ids.stable_hash(self._index.values).tobytes()).hexdigest()

    def places(self, values: pa.Array | pa.ChunkedArray) -> np.ndarray:
        """int64 (n,): where each raw id stands, -1 where it is null or not in the catalogue.

        Raises:
            DataError: ids of another kind, dates where numbers were.
        """
        return look_up(self._index, values, self.item)

    def counts_of(self, values: pa.Array | pa.ChunkedArray) -> Tensor:
        """int64 (n,): the counts of raw ids, 0 of those that are not here."""
        places = self.places(values)
        return torch.from_numpy(np.append(self.counts.numpy(), 0)[places])

    def counted(self, counts: Tensor) -> Catalogue:
        """The same items with other counts."""
        return replace(self, counts=counts)

    def save(self, path: Path | str) -> None:
        """One Parquet file: the user's own columns, by place, and the counts."""
        with atomic(path) as file:
            pq.write_table(self.table.append_column(_COUNTS, pa.array(self.counts.numpy())), file, compression="zstd")

    @classmethod
    def load(cls, path: Path | str, encoder: Encoder, item: str) -> Catalogue:
        """Raises RunFailed where the file is not what ``save`` wrote."""
        try:
            table = read_stored(path)
            counts = torch.from_numpy(ids.whole(table.column(_COUNTS)).cast(pa.int64()).to_numpy().copy())
            if pc.count_distinct(table.column(item)).as_py() != len(table):
                raise ValueError("an item stands twice")
            catalogue = cls._encoded(encoder, item, table.drop_columns([_COUNTS]), Path(path).name)
        except (OSError, KeyError, ValueError, pa.ArrowException) as error:
            raise RunFailed(f"{path} is damaged: {error}; train again or restore the run") from error
        if len(catalogue) != len(counts):
            raise RunFailed(f"{path} is not of this run's encoder; train again or restore the run")
        return catalogue.counted(counts)


def join_items(log: Source, items: Source, item: str) -> Source:
    """The log with the columns of its items; a column that the log has itself stays the log's."""
    look_up = LookUp(Join(file=items.files[0].name, on=item), items)
    there = log.column_kinds()
    look_up.added = [name for name in look_up.added if name not in there]
    return replace(log, joins=[*log.joins, look_up], stats=Stats())


def look_up(index: Vocabulary, values: pa.Array | pa.ChunkedArray, column: str) -> np.ndarray:
    """int64 (n,): the place in ``index`` of each raw value, -1 where it is null or not there."""
    unique, codes = ids.positions(values, column)
    places = np.maximum(index.look_up(unique, column).astype(np.int64) - index.first, -1)
    return places if codes is None else np.append(places, -1)[codes]


def _tidy(table: pa.Table, item: str) -> pa.Table:
    """Ids of a plain type, whole numbers as integers, in one piece."""
    place = table.column_names.index(item)
    column = table.column(item).cast(plain(table.column(item).type))
    if pa.types.is_floating(column.type):
        integers = ids.convert(ids.canonical(ids.whole(column), item), ids.INT, item)
        column = column if integers.null_count else pa.chunked_array([integers])
    return table.set_column(place, item, column).unify_dictionaries().combine_chunks()


def _check_ids(chunks: list[Chunk], item: str) -> None:
    """Raises DataError where an id is null or stands twice."""
    values = pa.concat_arrays([ids.canonical(ids.whole(chunk.table.column(item)), item) for chunk in chunks])
    codes = ids.distinct(values, item)[1]
    first = np.unique(codes, return_index=True)[1]
    wrong = np.flatnonzero(codes < 0)
    again = np.setdiff1d(np.arange(len(codes)), first)
    row = int(min([*wrong[:1], *again[:1]], default=-1))
    if row < 0:
        return
    at = row
    for chunk in chunks:
        if at < len(chunk):
            break
        at -= len(chunk)
    value = chunk.table.column(item)[at]
    if codes[row] < 0:
        raise DataError(f"{chunk.locate(at)}: {item} is {value}; every item needs an id")
    raise DataError(f"{chunk.locate(at)}: {item} {value} is there more than once; keep one row for each item")


def _last_rows(rows: Rows, item: str, columns: list[str], progress: Callable[[int], None] | None) -> pa.Table:
    """The last row of each item, by rising id."""
    held = rows.schema.empty_table().select(columns)
    waiting: list[pa.Table] = []
    n_waiting = n_rows = 0
    for chunk in rows.tables(columns=columns, rows=CHUNK_ROWS):
        waiting.append(_last(chunk.table, item))
        n_waiting += len(waiting[-1])
        n_rows += len(chunk)
        if n_waiting > max(CHUNK_ROWS, len(held)):
            held = _last(pa.concat_tables([held, *waiting]), item)
            waiting, n_waiting = [], 0
        if progress:
            progress(n_rows)
    held = _last(pa.concat_tables([held, *waiting]), item)
    order = pc.sort_indices(ids.canonical(ids.whole(held.column(item)), item))
    return held.take(order)


def _last(table: pa.Table, item: str) -> pa.Table:
    """The last row of each item of a table; rows without an item are left out."""
    values, codes = ids.distinct(table.column(item), item)
    rows = np.flatnonzero(codes >= 0)
    last = np.full(len(values), -1)
    last[codes[rows]] = rows  # of equal places the last one stays
    return table.unify_dictionaries().take(np.sort(last[last >= 0]))


def known_rows(schema: Schema, batch: Batch) -> np.ndarray:
    """bool (B,): whether a column of the row has a value that training had; every number counts."""
    if schema.n_dense or not schema.features:
        return np.ones(len(batch), bool)
    known = np.zeros(len(batch), bool)
    for place, feature in enumerate(schema.sparse):
        known |= batch.sparse[:, place].numpy() >= FIRST_UNSEEN + feature.oov_buckets
    for feature in schema.sequences:
        sequence = batch.sequences[feature.name]
        rows = sequence.rows[sequence.values >= FIRST_UNSEEN + feature.oov_buckets]
        known[rows.numpy()] = True
    return known
