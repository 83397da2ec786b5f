"""The events of a log as arrays, read in one streaming pass."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from rechub_cli.data import ids, labels
from rechub_cli.data.chunk import Chunk, Rows
from rechub_cli.data.fit import CHUNK_ROWS
from rechub_cli.data.memory import available
from rechub_cli.data.moments import clock
from rechub_cli.data.vocabulary import hash_as
from rechub_cli.errors import DataError, RunFailed
from rechub_cli.spec.model import History, Label

if TYPE_CHECKING:
    from rechub_cli.data.encoder import Encoder

Places = Callable[[pa.ChunkedArray], np.ndarray]  # of items in the catalogue, -1 for those that it lacks


@dataclass(frozen=True, slots=True)
class Events:
    """N events, one a row of the log that has a user."""

    users: np.ndarray  # uint64 (N,): hashes
    times: np.ndarray  # int64 or float64 (N,)
    orders: np.ndarray | None  # int64 or float64 (N,)
    parts: np.ndarray  # int8 (N,): which part of the log
    rows: np.ndarray  # int64 (N,): which row of its part
    ids: dict[str, np.ndarray]  # by column: int32 (N,)
    holds: dict[str, np.ndarray]  # by condition: bool (N,)
    places: np.ndarray | None = None  # int32 (N,): of the item in the catalogue, -1 where it is no target

    def __len__(self) -> int:
        return len(self.users)

    def arrays(self) -> list[np.ndarray]:
        found = [self.users, self.times, self.orders, self.parts, self.rows, self.places]
        return [one for one in (*found, *self.ids.values(), *self.holds.values()) if one is not None]

    @property
    def nbytes(self) -> int:
        return sum(one.nbytes for one in self.arrays())

    def take(self, chosen: np.ndarray) -> Events:
        """Those that ``chosen`` (places, or a mask) names, in its order."""
        return Events(
            self.users[chosen],
            self.times[chosen],
            None if self.orders is None else self.orders[chosen],
            self.parts[chosen],
            self.rows[chosen],
            {name: values[chosen] for name, values in self.ids.items()},
            {name: values[chosen] for name, values in self.holds.items()},
            None if self.places is None else self.places[chosen],
        )

    def sorted(self) -> Events:
        """By user, time, order, part, row."""
        keys = [self.times, self.users] if self.orders is None else [self.orders, self.times, self.users]
        return self.take(np.lexsort(keys))  # stable: parts and rows are in order already

    def distinct(self) -> Events:
        """Without those that a later part has too: each as often as the part that has it most often."""
        same = self.users.copy()
        for values in (self.times, self.orders, *self.ids.values(), *self.holds.values()):
            if values is not None:
                bits = values.view(np.uint64) if values.itemsize == 8 else values.astype(np.uint64)
                same = ids.mix(same) ^ ids.mix(bits)  # by turns, so that no two can change places
        order = np.lexsort([self.parts, same])
        starts = starts_of_runs(same[order], self.parts[order])
        turn = np.empty(len(self), np.int64)  # the first, the second, ... of its kind in its part
        turn[order] = np.arange(len(self)) - starts
        order = np.lexsort([-self.parts, turn, same])
        last = starts_of_runs(same[order], turn[order]) == np.arange(len(self))
        return self.take(np.sort(order[last]))  # so events of one time stay in the order of the later part's rows


def starts_of_runs(*keys: np.ndarray) -> np.ndarray:
    """int64 (N,): for each place of sorted keys where its run of equal ones starts."""
    places = np.arange(len(keys[0]))
    new = np.zeros(len(places), bool)
    new[:1] = True
    for key in keys:
        new[1:] |= key[1:] != key[:-1]
    return np.maximum.accumulate(np.where(new, places, 0))


def condition(feature: History) -> str:
    """A name for what a history's events must match; empty where that is nothing."""
    return json.dumps(feature.where, sort_keys=True, default=str) if feature.where else ""


def event_columns(encoder: Encoder) -> list[str]:
    """The raw columns that an event is read from."""
    found = list(encoder.plan.keys)
    for feature in encoder.plan.histories.values():
        found += [*feature.of, *feature.where]
    return list(dict.fromkeys(found))


class _Reader:
    """What is known of the log so far: the kinds of its keys."""

    def __init__(self, encoder: Encoder, item: str | None, places: Places | None) -> None:
        self.encoder, self.item, self.places = encoder, item, places
        self.plan = encoder.plan
        self.kind: pa.DataType | None = None
        self.moments: bool | None = None
        self.target = next(iter(self.plan.labels.items()), None) if places else None

    def columns(self, past: bool) -> list[str]:
        found = event_columns(self.encoder)
        if self.places and self.item and not past:
            found.append(self.item)
        if self.target and not past:
            found.append(self.target[1].column or self.target[0])
        return list(dict.fromkeys(found))

    def read(self, chunk: Chunk, part: int, start: int, past: bool = False) -> Events:
        user, time, *order = self.plan.keys
        if self.kind is None:
            self.kind = ids.canonical_type(chunk.table.schema.field(user).type, user)
        users, known = hash_users(chunk.table.column(user), self.kind, user)
        times, moments = clock(chunk, time)
        if moments != (self.moments if self.moments is not None else moments):
            raise DataError(f"{chunk.file}: {time} {_is(moments)} here and {_is(not moments)} in the files before")
        self.moments = moments
        found, holds = dict[str, np.ndarray](), dict[str, np.ndarray]()
        for name, feature in self.plan.histories.items():
            for column in feature.of:
                if column not in found:
                    owner = self.plan.owner_of_column(column, name)
                    found[column] = self.encoder.look_up(chunk.table.column(column), owner, column)
            if feature.where:
                holds[condition(feature)] = matches(chunk, feature.where)
        events = Events(
            users,
            times,
            clock(chunk, order[0])[0] if order else None,
            np.full(len(chunk), part, np.int8),
            np.arange(start, start + len(chunk)),
            found,
            holds,
            self._targets(chunk, past),
        )
        return events if known.all() else events.take(known)

    def _targets(self, chunk: Chunk, past: bool) -> np.ndarray | None:
        if self.places is None or self.item is None:
            return None
        if past:
            return np.full(len(chunk), -1, np.int32)
        out = self.places(chunk.table.column(self.item)).astype(np.int32)
        if self.target is not None and self.target[1].type == "classification":
            name, label = self.target
            out[labels.encode_label(chunk, label.column or name, label) != 1] = -1
        return out


def read_events(
    encoder: Encoder,
    parts: Sequence[Rows],
    item: str | None = None,
    places: Places | None = None,
    progress: Callable[[int], None] | None = None,
    n_past: int = 0,
) -> tuple[Events, pa.DataType, bool]:
    """The events of all parts in the order of their rows, the type of user ids, and whether times are moments.

    Those of the first ``n_past`` parts have no places.

    Raises:
        DataError: a time is null, or of another kind than before. RunFailed: the events do not fit in memory.
    """
    reader = _Reader(encoder, item, places)
    found: list[Events] = []
    total = held = 0
    for part, rows in enumerate(parts):
        start = 0
        for chunk in rows.tables(reader.columns(part < n_past), CHUNK_ROWS):
            found.append(reader.read(chunk, part, start, part < n_past))
            start += len(chunk)
            total += len(chunk)
            held += found[-1].nbytes
            _check_memory(held)
            if progress:
                progress(total)
    if not found:
        found.append(reader.read(Chunk(parts[-1].schema.empty_table(), "the log", 0), 0, 0))
    assert reader.kind is not None
    assert reader.moments is not None
    return concatenate(found), reader.kind, reader.moments


def concatenate(parts: Sequence[Events]) -> Events:
    """The events of all parts, in order."""
    first = parts[0]

    def optional(arrays: list[np.ndarray | None]) -> np.ndarray | None:
        found = [one for one in arrays if one is not None]
        return np.concatenate(found) if found else None

    return Events(
        np.concatenate([part.users for part in parts]),
        np.concatenate([part.times for part in parts]),
        optional([part.orders for part in parts]),
        np.concatenate([part.parts for part in parts]),
        np.concatenate([part.rows for part in parts]),
        {name: np.concatenate([part.ids[name] for part in parts]) for name in first.ids},
        {name: np.concatenate([part.holds[name] for part in parts]) for name in first.holds},
        optional([part.places for part in parts]),
    )


def hash_users(column: pa.ChunkedArray, kind: pa.DataType, name: str) -> tuple[np.ndarray, np.ndarray]:
    """A 64-bit hash of each row's user, one to one for numbers, and whether there is one."""
    values, codes = ids.distinct(column, name)
    return np.append(hash_as(values, kind, name), np.uint64(0))[codes], codes >= 0


def matches(chunk: Chunk, where: dict[str, Any]) -> np.ndarray:
    """bool (n,): the rows whose columns have the wanted value, or one of several; ``">= 4"`` as for labels."""
    out = np.ones(len(chunk), bool)
    for column, wanted in where.items():
        one_of = wanted if isinstance(wanted, list) else [wanted]
        found = [labels.encode_label(chunk, column, Label(positive=value)) == 1 for value in one_of]
        out &= np.logical_or.reduce(found)
    return out


def _is(moments: bool) -> str:
    return "is a moment" if moments else "is a number"


def _check_memory(held: int) -> None:
    """Sorting takes about what is held twice more."""
    left = available()
    if left is not None and 2 * held > left:
        raise RunFailed(
            f"the events of the log need {2 * held / 1e9:,.1f} GB more of memory, and {left / 1e9:,.1f} GB is left; "
            "keep fewer of them with data.filter, or give histories as sequence columns"
        )
