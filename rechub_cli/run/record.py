"""The files of a run that people read: events.jsonl, train.log, metrics.csv, log_table.txt and .html."""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from rechub_cli.files import creating, write_text
from rechub_cli.run.curves import page
from rechub_cli.run.events import Event, Progress
from rechub_cli.run.safe_text import printable, redacted
from rechub_cli.run.table import metrics_csv, table_text

MOST_POINTS = 2000


def open_log(path: Path) -> IO[str]:
    """For lines, each written through at once; a name that is no UTF-8 text cannot break them."""
    return open(path, "a", encoding="utf-8", errors="backslashreplace", buffering=1)


class CleanLog(io.TextIOBase):
    """A log for what others print, too, tracebacks included: line by line, without secrets and control characters."""

    encoding = "utf-8"

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        self._line = ""  # so far

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._file.fileno()

    def write(self, text: str) -> int:
        lines, newline, self._line = (self._line + text).rpartition("\n")
        if newline:
            self._file.write(printable(redacted(lines)) + newline)
        return len(text)

    def close(self) -> None:
        if not self.closed:
            self._file.write(printable(redacted(self._line)))
            self._file.close()
        super().close()


class Record:
    """Writes events as they come, and the tables after each epoch."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows: list[dict[str, Any]] = []
        self.losses: list[tuple[float, float]] = []  # (step, the loss of its batch), now and then
        self._every = 1
        self._ticks = 0
        self.seq = last_number(folder)  # of the events that an earlier process wrote
        with creating(folder):
            end_whole(folder / "events.jsonl", torn=False)
            end_whole(folder / "train.log", torn=True)
            self._events = open_log(folder / "events.jsonl")
            self.log = CleanLog(open_log(folder / "train.log"))

    def event(self, event: Event) -> None:
        with creating(self.folder):
            self._events.write(event.to_json() + "\n")
            self.log.write(event.to_text() + "\n")
        if event.event == "epoch.end":
            rows = {
                row.get("epoch"): row for row in (*self.rows, dict(event.data))
            }  # an epoch once, however often told
            self.rows = list(rows.values())
            self.write_tables()

    def tick(self, progress: Progress) -> None:
        """Keep the loss for the curve: a thousand points or two, however long the training."""
        if progress.loss is None or progress.epoch is None or not progress.total:
            return
        self._ticks += 1
        if self._ticks % self._every == 0:
            self.losses.append(((progress.epoch - 1) * progress.total + progress.done, progress.loss))
        if len(self.losses) >= MOST_POINTS:
            del self.losses[::2]
            self._every *= 2

    def recall(self, rows: Sequence[Mapping[str, Any]], step: int) -> list[int]:
        """Go on with the tables of a run of which ``rows`` are the epochs, up to ``step``; those not told of yet."""
        self.rows = [dict(row) for row in rows]
        for data in _told(self.folder, "progress"):
            steps, _, total = str(data.get("steps", "")).partition("/")
            epoch, loss = str(data.get("epoch", "")).partition("/")[0], data.get("loss")
            if steps.isdecimal() and total.isdecimal() and epoch.isdecimal() and isinstance(loss, int | float):
                place = (int(epoch) - 1) * int(total) + int(steps)
                if place <= step:
                    self.losses.append((place, float(loss)))
        self.losses = sorted(dict(self.losses).items())[-MOST_POINTS:]
        self.write_tables()
        told = epochs_told(self.folder)
        return [row["epoch"] for row in self.rows if row["epoch"] not in told]

    def write_tables(self) -> None:
        """Atomically, after every epoch: a run that dies leaves the tables of the epochs it finished."""
        write_text(self.folder / "metrics.csv", metrics_csv(self.rows))
        write_text(self.folder / "log_table.txt", table_text(self.rows))
        write_text(self.folder / "log_table.html", page(self.folder.name, self.rows, self.losses))

    def close(self) -> None:
        for file in (self._events, self.log):
            with contextlib.suppress(OSError):  # a full disk, which was told when the line was written
                file.close()


def epochs_told(folder: Path) -> dict[int, dict[str, Any]]:
    """The rows of the epochs whose end a run's events tell, by number; the newest of each."""
    return {data["epoch"]: data for data in _told(folder, "epoch.end") if isinstance(data.get("epoch"), int)}


def last_number(folder: Path) -> int:
    """The number of the last event that is written there."""
    numbers = [event.get("seq") for event in _events(folder)]
    return max((number for number in numbers if isinstance(number, int)), default=0)


def _told(folder: Path, kind: str) -> Iterator[dict[str, Any]]:
    return (event["data"] for event in _events(folder) if event.get("event") == kind and "data" in event)


def _events(folder: Path) -> Iterator[dict[str, Any]]:
    """What events.jsonl holds; a line that is none is passed over."""
    with contextlib.suppress(FileNotFoundError), open(folder / "events.jsonl", encoding="utf-8", errors="replace") as f:
        for line in f:
            with contextlib.suppress(ValueError, RecursionError):
                event = json.loads(line)
                if isinstance(event, dict) and isinstance(event.get("data", {}), dict):
                    yield event


def end_whole(path: Path, *, torn: bool) -> None:
    """Where the last line has no end, for the disk was full, end it (``torn``) or take it away."""
    with contextlib.suppress(FileNotFoundError), open(path, "rb+") as file:
        size = file.seek(0, os.SEEK_END)
        start = max(0, size - (1 << 20))
        file.seek(start)
        tail = file.read()
        if tail and not tail.endswith(b"\n"):
            if torn:
                file.write(b"\n")
            else:
                file.truncate(start + tail.rfind(b"\n") + 1)
