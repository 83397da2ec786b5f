"""The files of a run that people read: events.jsonl, train.log, metrics.csv, log_table.txt and .html."""

from __future__ import annotations

import io
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
        with creating(folder):
            self._events = open_log(folder / "events.jsonl")
            self.log = CleanLog(open_log(folder / "train.log"))

    def event(self, event: Event) -> None:
        with creating(self.folder):
            self._events.write(event.to_json() + "\n")
            self.log.write(event.to_text() + "\n")
        if event.event == "epoch.end":
            self.rows.append(dict(event.data))
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

    def write_tables(self) -> None:
        """Atomically, after every epoch: a run that dies leaves the tables of the epochs it finished."""
        write_text(self.folder / "metrics.csv", metrics_csv(self.rows))
        write_text(self.folder / "log_table.txt", table_text(self.rows))
        write_text(self.folder / "log_table.html", page(self.folder.name, self.rows, self.losses))

    def close(self) -> None:
        self._events.close()
        self.log.close()
