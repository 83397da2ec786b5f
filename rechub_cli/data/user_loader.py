"""Sequences of users with all their targets: a sequential model learns every prefix of a user in one pass."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch

from rechub_cli.batch import Batch, Jagged
from rechub_cli.data.block import gather, offsets_of
from rechub_cli.data.history import EventStore
from rechub_cli.data.prefetch import prefetch
from rechub_cli.errors import DataError, SpecError

_SPARE = 4  # batches that are ready ahead of the model


class UserLoader:
    """Batches of users: the aligned sequences of a history, and ``targets`` (Q, 2): [events before it, place].

    A row's sequence ends before its last target, and every target has at least one event before it: strictly before,
    by time, ``order:`` and lag. Events of items that the catalogue lacks, or whose label is not 1, are no targets.
    ``sparse`` and ``dense`` are empty.

    Args:
        store: built with ``places``; its events are those to train on.
        batch_size: users a batch.
        history: which one, where the spec has several.
        windows: what becomes of users with more than ``max_len`` events. ``all`` cuts the sequence into rows of
            ``max_len``, so that no target is lost; ``last`` keeps the newest, as published SASRec results do.

    The order of an epoch depends on (seed, epoch) only; every rank gets the same number of steps over rows of its own.

    Raises:
        SpecError: there are several histories and none is named. DataError: no event is a target.
    """

    def __init__(
        self,
        store: EventStore,
        batch_size: int,
        *,
        history: str | None = None,
        windows: Literal["all", "last"] = "all",
        shuffle: bool,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        names = list(store.plan.histories)
        if history is None and len(names) != 1:
            raise SpecError(f"a sequential model learns from one history, and the features have {len(names)}: {names}")
        self.store, self.history = store, history or names[0]
        self.batch_size, self.shuffle, self.seed, self.rank, self.world = batch_size, shuffle, seed, rank, world
        self.max_len = store.plan.histories[self.history].max_len
        self._cut(windows)
        self.n_rows = len(self.lengths)
        if self.n_rows < world:
            raise DataError("no user of the log has one event after another: there is nothing to predict")
        self.rows = (rank + 1) * self.n_rows // world - rank * self.n_rows // world  # of this rank
        fewest = self.n_rows // world
        self.steps = -(-fewest // batch_size)
        if self.steps > 1 and fewest % batch_size == 1:
            self.steps -= 1
        self._epoch, self._step = 0, 0

    def _cut(self, windows: str) -> None:
        """The rows: where their sequences start, how long they are, and their targets."""
        store, events = self.store, self.store.events
        if events.places is None:
            raise ValueError("the events have no places: EventStore.build(..., places=catalogue.places)")
        targets = np.flatnonzero(events.places >= 0)
        user = np.repeat(np.arange(len(store.users)), np.diff(store.starts))[targets]
        counts = store.counts(self.history)
        first = counts[store.starts[user]]  # of the user's, among the events that the history takes
        n_before = counts[store.until_itself(store.lag(self.history))[targets]] - first
        some = n_before > 0
        targets, user, first, n_before = targets[some], user[some], first[some], n_before[some]
        last = np.append(user[1:] != user[:-1], True)[: len(user)]
        longest = n_before[last][np.cumsum(last) - last]  # n_before rises within a user
        window = (longest - n_before) // self.max_len  # counted from the newest
        if windows == "last":
            kept = window == 0
            targets, user, first, n_before = targets[kept], user[kept], first[kept], n_before[kept]
            longest, window = longest[kept], window[kept]
        stop = longest - window * self.max_len
        start = np.maximum(stop - self.max_len, 0)
        new = np.ones(len(user), bool)
        new[1:] = (user[1:] != user[:-1]) | (window[1:] != window[:-1])
        self.starts, self.lengths = (first + start)[new], (stop - start)[new]
        self.targets = np.stack([n_before - start, events.places[targets]], axis=1).astype(np.int32)
        self.target_starts = np.append(np.flatnonzero(new), len(new))

    @property
    def n_targets(self) -> int:
        """Targets of an epoch, of all ranks."""
        return len(self.targets)

    def __len__(self) -> int:
        """Steps of a whole epoch."""
        return self.steps

    def set_position(self, epoch: int, step: int = 0) -> None:
        """The next iteration gives the batches of ``epoch`` from ``step`` on; later ones go on with the epoch after."""
        self._epoch, self._step = epoch, step

    def __iter__(self) -> Iterator[Batch]:
        epoch, step = self._epoch, self._step
        self._epoch, self._step = epoch + 1, 0
        return prefetch(self._batches(epoch, step), _SPARE)

    def _batches(self, epoch: int, step: int) -> Iterator[Batch]:
        order = np.arange(self.n_rows)
        if self.shuffle:
            order = np.random.default_rng([self.seed % 2**63, epoch]).permutation(order)
        order = order[self.rank * self.n_rows // self.world :][: self.rows]
        for at in range(step, self.steps):
            stop = (at + 1) * self.batch_size if at + 1 < self.steps else self.rows
            yield self.batch(order[at * self.batch_size : stop])

    def batch(self, rows: np.ndarray) -> Batch:
        """The rows named by ``rows``."""
        starts, lengths = self.starts[rows], self.lengths[rows]
        offsets = torch.from_numpy(offsets_of(lengths))
        firsts = self.target_starts[rows]
        n_targets = self.target_starts[rows + 1] - firsts
        return Batch(
            sparse=torch.empty((len(rows), 0), dtype=torch.int32),
            dense=torch.empty((len(rows), 0)),
            sequences={
                feature: Jagged(torch.from_numpy(gather(self.store.values(feature), starts, lengths)), offsets)
                for feature in self.store.plan.history_columns(self.history)
            },
            targets=Jagged(
                torch.from_numpy(gather(self.targets, firsts, n_targets)), torch.from_numpy(offsets_of(n_targets))
            ),
        )
