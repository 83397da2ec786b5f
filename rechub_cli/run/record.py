"""The files of a run that people read: events.jsonl, train.log, metrics.csv, log_table.txt and .html."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rechub_cli.files import creating, write_text
from rechub_cli.run.curves import page
from rechub_cli.run.events import Event, Progress
from rechub_cli.run.table import metrics_csv, table_text


class Record:
    """Writes events as they come, and the tables after each epoch."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows: list[dict[str, Any]] = []
        with creating(folder):
            self._events = open(folder / "events.jsonl", "a", encoding="utf-8", buffering=1)  # noqa: SIM115
            self.log = open(folder / "train.log", "a", encoding="utf-8", buffering=1)  # noqa: SIM115

    def event(self, event: Event) -> None:
        with creating(self.folder):
            self._events.write(event.to_json() + "\n")
            self.log.write(event.to_text() + "\n")
        if event.event == "epoch.end":
            self.rows.append(dict(event.data))
            self.write_tables()

    def tick(self, progress: Progress) -> None:
        pass

    def write_tables(self) -> None:
        """Atomically, after every epoch: a run that dies leaves the tables of the epochs it finished."""
        write_text(self.folder / "metrics.csv", metrics_csv(self.rows))
        write_text(self.folder / "log_table.txt", table_text(self.rows))
        write_text(self.folder / "log_table.html", page(self.folder.name, self.rows))

    def close(self) -> None:
        self._events.close()
        self.log.close()
