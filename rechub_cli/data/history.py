"""Each row's past, from the log: its user's events strictly before its own time."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from rechub_cli.data.block import Block, gather
from rechub_cli.data.events import Events, Places, condition, hash_users, read_events, starts_of_runs
from rechub_cli.data.moments import clock
from rechub_cli.data.plan import Plan
from rechub_cli.errors import DataError
from rechub_cli.spec.lag import parse_lag

if TYPE_CHECKING:
    from rechub_cli.data.chunk import Chunk, Rows
    from rechub_cli.data.encoder import Encoder

_NOT_SECONDS = 1e11  # as seconds since 1970 that is the year 5138


@dataclass(frozen=True, slots=True)
class Located:
    """Rows that look for their past: where their user's events are, and when the rows are themselves."""

    low: np.ndarray  # int64 (n,): the user's first event
    high: np.ndarray  # int64 (n,): past its last; equal to ``low`` where the log does not know the user
    times: np.ndarray | None = None  # (n,), as the store's; None: now
    orders: np.ndarray | None = None


@dataclass(frozen=True)
class EventStore:
    """The events of a log by user, time, ``order:`` and row; ``EventStore.build`` makes one.

    It is in memory: an event takes 33 bytes, 8 for an order, 4 for each column, 1 to 13 for each condition.
    """

    plan: Plan
    keys: tuple[str, ...]  # the columns by which rows find their past: user, time, order; without a time: now
    kind: pa.DataType  # of user ids, canonical
    moments: bool  # times are microseconds since 1970 UTC, else plain numbers
    events: Events
    _made: dict[str, np.ndarray] = field(default_factory=dict, repr=False)

    @classmethod
    def build(
        cls,
        encoder: Encoder,
        parts: Sequence[Rows],
        *,
        item: str | None = None,
        places: Places | None = None,
        n_past: int = 0,
        distinct: bool = False,
        progress: Callable[[int], None] | None = None,
    ) -> EventStore:
        """One streaming pass over the rows of all parts; rows without a user are no events.

        Args:
            encoder: fitted; its vocabularies give the events their ids.
            parts: train, then valid, then test; ``first`` leaves the later ones out.
            n_past: so many of the first parts are events of before, which are no targets.
            item, places: the column of items, and what gives each its place in the catalogue (-1: none), for
                training on sequences. The first label, where there is one, must be 1 for an event to be a target.
            distinct: an event that a later part has too counts once: for logs that overlap.

        Raises:
            DataError: a time is null, or of another kind than before; a lag does not fit the times.
            RunFailed: the events do not fit in memory.
        """
        events, kind, moments = read_events(encoder, parts, item, places, progress, n_past)
        events = (events.distinct() if distinct else events).sorted()
        store = cls(encoder.plan, encoder.plan.keys, kind, moments, events)
        for name in encoder.plan.histories:
            store.lag(name)
        return store

    def first(self, n_parts: int) -> EventStore:
        """Only the events of the first parts: 1 is train, 2 train and valid."""
        if not len(self) or self.events.parts.max() < n_parts:
            return self
        return replace(self, events=self.events.take(self.events.parts < n_parts), _made={})

    def for_columns(self, there: Collection[str]) -> EventStore:
        """The store for rows that have only these columns: without a time they stand after all events."""
        user, time, *order = self.keys
        keys = (user, time, *(name for name in order if name in there)) if time in there else (user,)
        return replace(self, keys=keys, _made=self._made)

    def __len__(self) -> int:
        return len(self.events)

    @property
    def nbytes(self) -> int:
        return self.events.nbytes + sum(one.nbytes for one in self._made.values())

    @cached_property
    def digest(self) -> str:
        """A hash of the events: of all that decides what a row's history is."""
        state = hashlib.sha256(f"{self.keys} {self.kind} {self.moments}".encode())
        for values in self.events.arrays():
            state.update(np.ascontiguousarray(values).data)
        return state.hexdigest()

    @cached_property
    def starts(self) -> np.ndarray:
        """int64 (U + 1,): the events of user i are ``starts[i] .. starts[i + 1]``."""
        users = self.events.users
        return np.concatenate([[0], np.flatnonzero(users[1:] != users[:-1]) + 1, [len(users)]])[: len(users) + 1]

    @cached_property
    def users(self) -> np.ndarray:
        """uint64 (U,): the users' hashes, rising."""
        return self.events.users[self.starts[:-1]]

    def lag(self, name: str) -> float:
        """How long before a row its history ends, in the unit of the times.

        Raises:
            DataError: the lag has a unit, and the times are numbers that are no seconds.
        """
        text = self.plan.histories[name].lag
        if text is None:
            return 0
        lag, has_unit = parse_lag(text)
        if self.moments:
            return int(lag * 1_000_000)
        if has_unit and len(self) and np.abs(self.events.times).max() > _NOT_SECONDS:
            raise DataError(
                f"features.{name}.lag is {text}, and {self.keys[1]} is a number that cannot be seconds since 1970; "
                f"give the lag in the unit of {self.keys[1]}, without s, m, h, d or w"
            )
        return int(lag) if lag.is_integer() else lag

    def fill(self, chunk: Chunk, names: Iterable[str], block: Block) -> None:
        """Write the histories ``names`` of a chunk's rows into their block. Raises DataError as ``locate``."""
        rows, layout = self.locate(chunk), block.layout
        for name in names:
            starts, lengths = self.before(name, rows)
            for feature in self.plan.history_columns(name):
                block.values[feature] = gather(self.values(feature), starts, lengths)
                block.rows[:, layout.lengths.start + layout.sequences.index(feature)] = lengths

    def locate(self, chunk: Chunk) -> Located:
        """Where the rows of a chunk find their past.

        Raises:
            DataError: a time is null, or of another kind than those of the log.
        """
        user, *keys = self.keys
        hashes, known = hash_users(chunk.table.column(user), self.kind, user)
        if not len(self):
            none = np.zeros(len(chunk), np.int64)
            return Located(none, none)
        at = np.searchsorted(self.users, hashes).clip(max=len(self.users) - 1)
        low = self.starts[at]
        high = np.where(known & (self.users[at] == hashes), self.starts[at + 1], low)
        if not keys:
            return Located(low, high)
        times, moments = clock(chunk, keys[0])
        if moments != self.moments:
            now, then = ("moments", "numbers") if moments else ("numbers", "moments")
            raise DataError(f"{chunk.file}: {keys[0]} holds {now}, and {then} in the log; give the same type")
        return Located(low, high, times, clock(chunk, keys[1])[0] if len(keys) > 1 else None)

    def before(self, name: str, rows: Located) -> tuple[np.ndarray, np.ndarray]:
        """Where each row's history ``name`` starts in ``values``, and its length: int64 (n,) both."""
        end = self.counts(name)[self.until(rows, self.lag(name))]
        lengths = np.minimum(end - self.counts(name)[rows.low], self.plan.histories[name].max_len)
        return end - lengths, lengths

    def until(self, rows: Located, lag: float = 0) -> np.ndarray:
        """int64 (n,): past the last event of each row's user that is strictly before the row less the lag."""
        low, high = rows.low, rows.high
        if rows.times is None:
            return high
        times = _comparable(rows.times - lag if lag else rows.times, self.events.times)
        orders = None  # which of equal times is first
        if rows.orders is not None and self.events.orders is not None and not lag:
            orders = _comparable(rows.orders, self.events.orders)
        while (low < high).any():  # a binary search of all rows at once
            middle = (low + high) >> 1
            place = np.minimum(middle, len(self) - 1)
            there = self.events.times[place]
            earlier = there < times
            if orders is not None and self.events.orders is not None:
                earlier |= (there == times) & (self.events.orders[place] < orders)
            earlier &= low < high
            low, high = np.where(earlier, middle + 1, low), np.where(earlier, high, middle)
        return low

    def until_itself(self, lag: float = 0) -> np.ndarray:
        """int64 (N,): as ``until``, of the events themselves."""
        events = self.events
        if not lag:
            return starts_of_runs(*(keys for keys in (events.users, events.times, events.orders) if keys is not None))
        user = np.repeat(np.arange(len(self.users)), np.diff(self.starts))
        return self.until(Located(self.starts[user], self.starts[user + 1], events.times), lag)

    def latest(self) -> np.ndarray:
        """bool (N,): the events that a row after all of them has in one of its histories."""
        out = np.zeros(len(self), bool)
        low, high = self.starts[:-1], self.starts[1:]
        for name, feature in self.plan.histories.items():
            lag, counts = self.lag(name), self.counts(name)
            # Rows come after the user's last event, and see no further back than the lag before it.
            end = self.until(Located(low, high, self.events.times[high - 1]), lag) if lag else high
            marks = np.zeros(counts[-1] + 1, np.int64)
            np.add.at(marks, np.maximum(counts[low], counts[end] - feature.max_len), 1)
            np.add.at(marks, counts[high], -1)
            taken = np.flatnonzero(np.diff(counts))
            out[taken[np.cumsum(marks)[:-1] > 0]] = True
        return out

    def counts(self, name: str) -> np.ndarray:
        """int64 (N + 1,): how many of the first i events the history ``name`` takes."""
        which = condition(self.plan.histories[name])
        if which not in self._made:
            holds = self.events.holds[which] if which else np.ones(len(self), bool)
            self._made[which] = np.concatenate([[0], np.cumsum(holds)])
        return self._made[which]

    def values(self, feature: str) -> np.ndarray:
        """int32 (M,): the ids of a history's feature, of the events that the history takes, in their order."""
        name, column = self.plan.history_of(feature)
        which = condition(self.plan.histories[name])
        if not which:
            return self.events.ids[column]
        key = f"{which} {column}"
        if key not in self._made:
            self._made[key] = self.events.ids[column][self.events.holds[which]]
        return self._made[key]


def _comparable(times: np.ndarray, like: np.ndarray) -> np.ndarray:
    """Times of rows in the type of the log's, such that an event is before the one where it is before the other."""
    if times.dtype == like.dtype:
        return times
    if like.dtype == np.int64:  # an integer is below 5.5 where it is below 6
        return np.ceil(times).clip(-(2.0**63), 2.0**63 - 1024).astype(np.int64)
    return times.astype(like.dtype)
