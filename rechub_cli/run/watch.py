"""What a trainer tells while it runs, turned into events."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rechub_cli.run.events import Events, Progress
from rechub_cli.run.signals import Stop

if TYPE_CHECKING:
    from torch import Tensor

    from rechub_cli.trainers.loop import Epoch

TICK_SECONDS = 0.1  # between two looks at the loss, which on a GPU waits for the device


class RunWatcher:
    """The trainer's Watcher: progress, epochs, messages, and the wish to stop."""

    def __init__(self, events: Events, stop: Stop) -> None:
        self.events = events
        self.stop = stop
        self.n_epoch = 0
        self.best: dict[str, Any] | None = None  # the epoch.end data of the best epoch so far
        self.rows: list[dict[str, Any]] = []  # all epochs
        self._next_tick = 0.0

    def on_start(self, steps_per_epoch: int | None, n_epoch: int) -> None:
        self.n_epoch = n_epoch

    def on_step(self, epoch: int, step: int, steps: int | None, loss: Tensor, rows: int) -> None:
        now = time.monotonic()
        if now < self._next_tick:
            return
        self._next_tick = now + TICK_SECONDS
        self.events.tick(Progress("train", step, steps, "steps", epoch, self.n_epoch, float(loss)))

    def restore(self, epochs: Sequence[Epoch], text: str, data: Mapping[str, Any]) -> None:
        """A training goes on after these epochs; those whose end was not told any more are told now."""
        self.rows = [row_of(record) for record in epochs]
        self.best = next((row for row in reversed(self.rows) if row["best"]), None)
        self.events.emit("run.resumed", text, data)
        record = self.events.record
        untold = record.recall(self.rows, data["step"]) if record is not None else []
        for row in self.rows:
            if row["epoch"] in untold:
                self.tell(row)

    def on_epoch(self, record: Epoch) -> None:
        data = row_of(record)
        self.rows.append(data)
        if record.best:
            self.best = data
        self.tell(data)

    def tell(self, data: Mapping[str, Any]) -> None:
        values = [f"{name} {value:.4f}" for name, value in data.items() if name.startswith(("train_", "val_"))]
        self.events.emit("epoch.end", f"epoch {data['epoch']}/{self.n_epoch} {' '.join(values)}", data)

    def on_message(self, level: str, event: str, text: str, data: Mapping[str, Any]) -> None:
        self.events.emit(event, text, data, level="warn" if level == "warn" else "info")

    def stop_requested(self) -> int | None:
        return self.stop.requested()


def row_of(record: Epoch) -> dict[str, Any]:
    """An epoch as a row of the tables, and as data of its event."""
    return {
        "epoch": record.epoch,
        "step": record.step,
        "train_loss": record.train_loss,
        **{f"train_loss_{name}": value for name, value in record.task_losses.items()},
        **{f"weight_{name}": value for name, value in record.task_weights.items()},
        **{f"val_{name}": value for name, value in record.metrics.items()},
        "lr": record.lr,
        "rows_per_s": round(record.rows_per_s),
        "seconds": round(record.seconds, 3),
        "best": record.best,
    }
