"""What a trainer tells while it runs, turned into events."""

from __future__ import annotations

import time
from collections.abc import Mapping
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

    def on_epoch(self, record: Epoch) -> None:
        data: dict[str, Any] = {
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
        self.rows.append(data)
        if record.best:
            self.best = data
        values = [f"{name} {value:.4f}" for name, value in data.items() if name.startswith(("train_", "val_"))]
        self.events.emit("epoch.end", f"epoch {record.epoch}/{self.n_epoch} {' '.join(values)}", data)

    def on_message(self, level: str, event: str, text: str, data: Mapping[str, Any]) -> None:
        self.events.emit(event, text, data, level="warn" if level == "warn" else "info")

    def stop_requested(self) -> int | None:
        return self.stop.requested()
