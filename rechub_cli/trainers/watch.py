"""Who follows a training, and who keeps its weights."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from rechub_cli.errors import CannotCreate
from rechub_cli.files import atomic, creating

log = logging.getLogger("rechub")


@dataclass(frozen=True, slots=True)
class Epoch:
    """One evaluation of a training: at the end of an epoch, or within it."""

    epoch: int  # from 1
    step: int  # optimizer steps since the start of training
    train_loss: float  # mean over the rows of this epoch so far
    metrics: Mapping[str, float]  # of the validation rows
    lr: float
    seconds: float  # since the epoch began, validation included
    rows_per_s: float  # training only
    best: bool  # the best so far
    task_losses: Mapping[str, float] = field(default_factory=dict)  # several labels: the mean of each in this epoch
    task_weights: Mapping[str, float] = field(default_factory=dict)  # several labels: what each loss counts with now


class Watcher(Protocol):
    """Follows a training; nothing it does changes the outcome, except by asking to stop."""

    def on_start(self, steps_per_epoch: int | None, n_epoch: int) -> None: ...

    def on_step(self, epoch: int, step: int, steps: int | None, loss: Tensor, rows: int) -> None:
        """Step ``step`` of ``steps`` of the epoch is done, ``rows`` rows of it; reading ``loss`` may wait for a GPU."""

    def on_epoch(self, record: Epoch) -> None: ...

    def on_message(self, level: str, event: str, text: str, data: Mapping[str, Any]) -> None: ...

    def stop_requested(self) -> int | None:
        """The number of the signal that asked to stop; polled at every batch."""


class Checkpoints(Protocol):
    """Keeps the weights and what a resumed training needs: the last, and the best.

    One that has no use for ``state`` says ``keeps_state = False`` and is given none.
    """

    def save(
        self,
        step: int,
        epoch: int,
        model: nn.Module,
        state: Mapping[str, Any],
        metrics: Mapping[str, float],
        best: bool,
    ) -> None: ...

    def load_best(self, model: nn.Module) -> None: ...


class LogWatcher:
    """The watcher of a training from Python: one line of the standard ``rechub`` logger for each epoch."""

    def on_start(self, steps_per_epoch: int | None, n_epoch: int) -> None:
        self.n_epoch = n_epoch

    def on_step(self, epoch: int, step: int, steps: int | None, loss: Tensor, rows: int) -> None:
        if log.isEnabledFor(logging.DEBUG):
            log.debug("epoch %d step %d/%s loss %.4f", epoch, step, steps or "?", loss.item())

    def on_epoch(self, record: Epoch) -> None:
        metrics = " ".join(f"val_{name} {value:.4f}" for name, value in record.metrics.items())
        log.info(
            "epoch %d/%d train_loss %.4f %s%s",
            record.epoch,
            self.n_epoch,
            record.train_loss,
            metrics,
            " *" * record.best,
        )

    def on_message(self, level: str, event: str, text: str, data: Mapping[str, Any]) -> None:
        log.log(logging.WARNING if level == "warn" else logging.INFO, text)

    def stop_requested(self) -> int | None:
        return None


class ModelFile:
    """The best weights in memory, and in ``model_path/<name>`` as a plain state_dict; no state for resuming.

    Raises:
        CannotCreate: the folder cannot be made or written; told before training.
    """

    keeps_state = False

    def __init__(self, model_path: str | Path, name: str = "model.pth") -> None:
        self.path = Path(model_path).expanduser() / name
        with creating(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
        if not os.access(self.path.parent, os.W_OK):
            raise CannotCreate(f"cannot write {self.path}: Permission denied")
        self.best: dict[str, Any] | None = None

    def save(
        self,
        step: int,
        epoch: int,
        model: nn.Module,
        state: Mapping[str, Any],
        metrics: Mapping[str, float],
        best: bool,
    ) -> None:
        if best:
            self.best = {
                name: value.detach().clone() if isinstance(value, Tensor) else value
                for name, value in model.state_dict().items()
            }
            with atomic(self.path) as file:
                torch.save(self.best, file)

    def load_best(self, model: nn.Module) -> None:
        if self.best is not None:
            model.load_state_dict(self.best)


class ModelLoggers:
    """A watcher that also feeds experiment loggers; it passes everything on.

    Args:
        loggers: one or several objects with ``log_hyperparams(dict)``, ``log_metrics(dict, step)``, ``finish()``.
    """

    def __init__(self, watcher: Watcher, loggers: Any, hyperparameters: Mapping[str, Any]) -> None:
        self.watcher = watcher
        self.loggers = list(loggers) if isinstance(loggers, list | tuple) else [loggers]
        self.hyperparameters = dict(hyperparameters)
        self.on_step = watcher.on_step
        self.on_message = watcher.on_message
        self.stop_requested = watcher.stop_requested

    def on_start(self, steps_per_epoch: int | None, n_epoch: int) -> None:
        for logger in self.loggers:
            logger.log_hyperparams(self.hyperparameters)
        self.watcher.on_start(steps_per_epoch, n_epoch)

    def on_epoch(self, record: Epoch) -> None:
        values = {"train/loss": record.train_loss, "learning_rate": record.lr}
        values |= {f"train/loss_{name}": value for name, value in record.task_losses.items()}
        values |= {f"loss_weight/{name}": value for name, value in record.task_weights.items()}
        values |= {f"val/{name}": value for name, value in record.metrics.items()}
        for logger in self.loggers:
            logger.log_metrics(values, step=record.epoch - 1)
        self.watcher.on_epoch(record)

    def finish(self) -> None:
        for logger in self.loggers:
            logger.finish()
