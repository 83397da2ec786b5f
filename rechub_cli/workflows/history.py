"""Histories in a run: the log is sorted once, every part sees its own past, the end of it is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rechub_cli.errors import UsageError
from rechub_cli.run.events import Events
from rechub_cli.run.signals import Stop
from rechub_cli.workflows.sources import Parts, reading

if TYPE_CHECKING:
    from rechub_cli.data.chunk import Rows
    from rechub_cli.data.encoder import Encoder
    from rechub_cli.data.history import EventStore
    from rechub_cli.workflows.warm_start import Start

KEPT = Path("history") / "events.parquet"  # in a run


@dataclass(frozen=True, slots=True)
class PartEncoders:
    """The encoder of each part of a run: what differs is how much of the log its rows may see."""

    encoder: Encoder
    parts: dict[str, Rows]  # `past` before them, where there is one
    log: EventStore | None  # of all parts; None where no feature is a history

    def of(self, part: str) -> Encoder:
        """Rows of train see train; those of valid see train and valid; those of test all: only what is before them."""
        if self.log is None:
            return self.encoder
        return self.encoder.with_events(self.log.first(list(self.parts).index(part) + 1))

    def keep(self, run: Path, events: Events, stop: Stop) -> None:
        """Keep in the run the events that later rows still have in their histories."""
        if self.log is None:
            return
        from rechub_cli.data.kept import keep

        keep(self.log, self.encoder, list(self.parts.values()), run / KEPT, reading(events, stop, "keeping", None))


def sort_log(encoder: Encoder, parts: Parts, events: Events, stop: Stop, start: Start | None = None) -> PartEncoders:
    """Read the log once more where a feature is a history; behind it lie the events that ``start`` kept.

    Raises:
        DataError: a time is null or does not fit. RunFailed: the events do not fit in memory.
    """
    named = {"train": parts.train, "valid": parts.valid, "test": parts.test}
    rows = {name: part for name, part in named.items() if part is not None}
    if not encoder.plan.histories:
        return PartEncoders(encoder, rows, None)
    from rechub_cli.data.history import EventStore

    past = start.past(encoder) if start else None
    if past is not None:
        rows = {"past": past, **rows}
    told = reading(events, stop, "sorting the log", None)
    log = EventStore.build(encoder, list(rows.values()), distinct=past is not None, progress=told)
    tell_log(log, events)
    return PartEncoders(encoder, rows, log)


def tell_log(log: EventStore, events: Events) -> None:
    """Say how much history there is, and what it takes of memory."""
    users = len(log.users)
    said = f"histories from {len(log):,} events of {users:,} users, {log.nbytes / 1e6:,.0f} MB of memory"
    events.emit("data.ready", said, {"events": len(log), "users": users, "bytes": log.nbytes})


def with_history(encoder: Encoder, run: Path, newer: Sequence[Rows] = ()) -> Encoder:
    """A run's encoder with the events that the run kept, and newer ones.

    Raises:
        UsageError: there are newer events, and the run has no use for them. DataError: they do not fit.
    """
    if not encoder.plan.histories:
        if newer:
            raise UsageError("--history: this run has no feature of type history")
        return encoder
    from rechub_cli.data.kept import reopen

    return encoder.with_events(reopen(run / KEPT, encoder, newer))
