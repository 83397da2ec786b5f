"""Who had which items: the seen items of a user, and the matrix that counting models learn from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from torch import Tensor

from rechub_cli.batch import Jagged
from rechub_cli.data import ids, labels
from rechub_cli.data.block import gather, offsets_of
from rechub_cli.data.catalogue import Catalogue, look_up
from rechub_cli.data.fit import CHUNK_ROWS
from rechub_cli.data.stored import read_stored
from rechub_cli.data.vocabulary import Vocabulary
from rechub_cli.errors import RunFailed, SpecError
from rechub_cli.files import atomic
from rechub_cli.spec.model import Label, Spec

if TYPE_CHECKING:
    from rechub_cli.data.chunk import Chunk, Rows

_SMALLEST_MERGE = 1 << 20  # pairs


@dataclass(frozen=True, slots=True)
class Columns:
    """The raw columns that say who had what."""

    item: str
    user: str | None = None
    label: tuple[str, Label] | None = None  # where there is one, only the rows where it is 1 are interactions

    @classmethod
    def of(cls, spec: Spec) -> Columns:
        """Raises SpecError: no item column, or a label that does not say yes or no."""
        if spec.item is None:
            raise SpecError("item is missing: name the column of the items, as in `item: item_id`")
        label = next(((label.column or name, label) for name, label in spec.labels.items()), None)
        if label is not None and label[1].type != "classification":
            raise SpecError(
                f"labels.{label[0]}: a regression does not say which rows are chosen items; "
                'make it a classification, as in {positive: ">= 4"}'
            )
        return cls(spec.item, spec.user, label)

    @property
    def names(self) -> list[str]:
        return [name for name in (self.item, self.user, self.label and self.label[0]) if name]

    def chosen(self, chunk: Chunk) -> np.ndarray:
        """bool (n,): the rows that are interactions: they have an item, and their label is 1.

        Raises:
            DataError: a value that is no label.
        """
        null = pc.is_null(chunk.table.column(self.item), nan_is_null=True)
        there = ~ids.whole(null).to_numpy(zero_copy_only=False)
        return there if self.label is None else there & (labels.encode_label(chunk, *self.label) == 1)


@dataclass(slots=True)
class Tally:
    """What one pass over the rows of a log counted."""

    n_rows: int = 0
    known: int = 0  # rows whose item is in the catalogue
    chosen: int = 0  # rows that are interactions with such an item
    outside: int = 0  # rows that are interactions with an item that is not

    @property
    def dropped(self) -> int:
        """Rows that training leaves out because their item is not in the catalogue."""
        return self.n_rows - self.known


@dataclass(slots=True)
class Interactions:
    """The different items of each user, as places in a catalogue: a sparse matrix of users by items."""

    users: pa.Array  # ids in their canonical type, none twice
    offsets: np.ndarray  # int64 (U + 1,)
    places: np.ndarray  # int32 (N,): rising within a user
    n_items: int
    _index: Vocabulary = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._index = Vocabulary(self.users, np.zeros(len(self.users), np.int64), len(self.users))

    @classmethod
    def build(
        cls,
        parts: Sequence[Rows],
        columns: Columns,
        catalogue: Catalogue,
        progress: Callable[[int], None] | None = None,
    ) -> tuple[Interactions, Tensor, Tally]:
        """One pass over the rows of the parts of a log.

        Without a user column there are no users, and the counts remain.

        Returns:
            the interactions; how often each item was chosen, int64 (I,); what became of the rows.

        Raises:
            DataError: a value that is no label, or users of another kind than in an earlier part.
        """
        pairs, tally = _Pairs(len(catalogue)), Tally()
        counts = np.zeros(len(catalogue), np.int64)
        for part in parts:
            for chunk in part.tables(columns=columns.names, rows=CHUNK_ROWS):
                places, chosen = catalogue.places(chunk.table.column(columns.item)), columns.chosen(chunk)
                inside = places >= 0
                tally.n_rows += len(chunk)
                tally.known += int(np.count_nonzero(inside))
                tally.outside += int(np.count_nonzero(chosen & ~inside))
                inside &= chosen
                tally.chosen += int(np.count_nonzero(inside))
                counts += np.bincount(places[inside], minlength=len(counts))
                if columns.user is not None:
                    users, numbers = ids.distinct(chunk.table.column(columns.user), columns.user)
                    pairs.add(users, columns.user, places[inside], numbers[inside])
                if progress:
                    progress(tally.n_rows)
        return cls(*pairs.finish()), torch.from_numpy(counts), tally

    def __len__(self) -> int:
        """Users."""
        return len(self.users)

    @property
    def hash(self) -> str:
        digest = hashlib.sha256(ids.stable_hash(self.users).tobytes())
        digest.update(self.offsets.tobytes())
        digest.update(self.places.tobytes())
        return digest.hexdigest()

    @property
    def matrix(self) -> Jagged:
        """Row u holds the places of user u."""
        return Jagged(torch.from_numpy(self.places), torch.from_numpy(self.offsets))

    def union(self, other: Interactions) -> Interactions:
        """With the items that users have there: those of train and valid, or newer ones.

        Raises:
            DataError: users of another kind.
        """
        pairs = _Pairs(self.n_items)
        for part in (self, other):
            if len(part):
                numbers = np.repeat(np.arange(len(part)), np.diff(part.offsets))
                pairs.add(part.users, "user", part.places, numbers)
        return Interactions(*pairs.finish())

    def of(self, users: pa.Array | pa.ChunkedArray, column: str = "user") -> tuple[np.ndarray, np.ndarray]:
        """The places of each raw user's items, int32 (N,), one user after the other, and how many, int64 (n,).

        A user who is not here has none.
        """
        rows = look_up(self._index, users, column)
        lengths = np.append(np.diff(self.offsets), 0)[rows]
        return gather(self.places, np.append(self.offsets[:-1], 0)[rows], lengths), lengths

    def seen(self, users: pa.Array | pa.ChunkedArray, column: str = "user") -> Jagged:
        """As ``of``: for ``Batch.seen``."""
        places, lengths = self.of(users, column)
        return Jagged(torch.from_numpy(places), torch.from_numpy(offsets_of(lengths)))

    def save(self, path: Path | str, catalogue: Catalogue) -> None:
        """Parquet: a row for each user, with the user's own ids of the items, so that any catalogue can read it."""
        items = ids.whole(catalogue.ids.take(pa.array(self.places)))
        lists = pa.LargeListArray.from_arrays(pa.array(self.offsets), items)
        with atomic(path) as file:
            pq.write_table(pa.table({"user": self.users, "items": lists}), file, compression="zstd")

    @classmethod
    def load(cls, path: Path | str, catalogue: Catalogue) -> Interactions:
        """As places of ``catalogue``; what it lacks is left out. Raises RunFailed where the file is damaged."""
        try:
            table = read_stored(path, ["user", "items"])
            users, lists = (ids.whole(column) for column in table.columns)
            if users.null_count or lists.null_count:
                raise ValueError("a user or a list is null")
            users = ids.canonical(users, "user")
            lengths = lists.value_lengths().to_numpy(zero_copy_only=False).astype(np.int64)
            places = catalogue.places(lists.flatten())
        except (OSError, KeyError, ValueError, AttributeError, pa.ArrowException) as error:
            raise RunFailed(f"{path} is damaged: {error}; train again or restore the run") from error
        rows = np.repeat(np.arange(len(users)), lengths)[places >= 0]
        places = places[places >= 0]
        places = places[np.lexsort((places, rows))].astype(np.int32)
        return cls(users, offsets_of(np.bincount(rows, minlength=len(users))), places, len(catalogue))


class _Pairs:
    """Different (user, place) pairs of a stream; what it holds grows with these and with the different users."""

    def __init__(self, n_items: int) -> None:
        self.n_items = n_items
        self.users: pa.Array | None = None
        self.keys = np.zeros(0, np.int64)  # rising: number of the user * n_items + place
        self.waiting: list[tuple[pa.Array, np.ndarray, np.ndarray]] = []
        self.n_waiting = 0

    def add(self, users: pa.Array, column: str, places: np.ndarray, numbers: np.ndarray) -> None:
        """``places`` of the users named by ``numbers``, places in ``users``; -1 is nobody."""
        if self.users is None:
            self.users = users.slice(0, 0)
        users = ids.convert(users, self.users.type, column)
        self.waiting.append((users, numbers[numbers >= 0], places[numbers >= 0]))
        self.n_waiting += len(users) + len(places)
        if self.n_waiting > max(_SMALLEST_MERGE, len(self.keys) // 2):
            self.merge()

    def merge(self) -> None:
        if self.users is None or not self.waiting:
            return
        held = self.users
        encoded = pa.concat_arrays([held, *(values for values, _, _ in self.waiting)]).dictionary_encode()
        numbers = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
        self.users = encoded.dictionary  # those held come first, and keep their numbers
        keys, start = [self.keys], len(held)
        for values, owners, places in self.waiting:
            users = numbers[start : start + len(values)][owners]
            keys.append((users * self.n_items + places)[users >= 0])
            start += len(values)
        together = np.sort(np.concatenate(keys), kind="stable")  # many times quicker than np.unique of such numbers
        self.keys = together[np.append(True, together[1:] != together[:-1])[: len(together)]]
        self.waiting, self.n_waiting = [], 0

    def finish(self) -> tuple[pa.Array, np.ndarray, np.ndarray, int]:
        self.merge()
        users = pa.array([], ids.TEXT) if self.users is None else self.users
        numbers, places = np.divmod(self.keys, self.n_items)
        return users, offsets_of(np.bincount(numbers, minlength=len(users))), places.astype(np.int32), self.n_items
