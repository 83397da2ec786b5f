"""The training loop: epochs, validation, early stopping, best and last weights, history. Written once."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from rechub_cli.errors import DataError, Interrupted, RunFailed
from rechub_cli.trainers import runtime
from rechub_cli.trainers.batches import n_batches
from rechub_cli.trainers.optimization import Optimization
from rechub_cli.trainers.parallel import bare
from rechub_cli.trainers.progress import Progress
from rechub_cli.trainers.restore import fitting
from rechub_cli.trainers.state import flatten, unflatten
from rechub_cli.trainers.transfer import to_device
from rechub_cli.trainers.watch import Checkpoints, Epoch, Watcher
from rechub_cli.trainers.weighting import Balance

CHECK_EVERY = 100  # steps between two looks at whether the loss is a number


class Trainable(Protocol):
    """What differs between trainers."""

    model: nn.Module
    device: torch.device
    optimization: Optimization

    def step(self, item: Any) -> tuple[Tensor, int]:
        """Learn from one item of the loader: its detached mean loss, and its rows."""

    def evaluate_metrics(self, model: nn.Module, data_loader: Iterable[Any]) -> dict[str, float]: ...


class Loop:
    """Drives a trainer over epochs.

    Args:
        patience: epochs without a better ``monitor`` before training stops.
        monitor: name of the metric that tells the best weights.
        eval_every_steps: validate within epochs too; such a validation can find the best weights.
        seed: of the randomness within steps; the loader has its own.
        balance: what several labels remember of their losses.
    """

    def __init__(
        self,
        trainer: Trainable,
        *,
        n_epoch: int,
        patience: int,
        monitor: str,
        higher_is_better: bool,
        watcher: Watcher,
        eval_every_steps: int | None = None,
        seed: int | None = None,
        balance: Balance | None = None,
    ) -> None:
        self.trainer = trainer
        self.n_epoch = n_epoch
        self.patience = max(patience, 1)
        self.monitor = monitor
        self.higher_is_better = higher_is_better
        self.watcher = watcher
        self.checkpoints: Checkpoints | None = None
        self.eval_every_steps = eval_every_steps
        self.seed = seed
        self.balance = balance
        self.at = Progress()
        self.loss_sum = self._zero()
        self.began = 0.0  # when the epoch that runs would have begun, had nothing come between
        self._resumed: dict[str, Any] | None = None

    def fit(self, loader: Iterable[Any], valid: Iterable[Any] | None, checkpoints: Checkpoints) -> None:
        """Train until the last epoch or until the metric stops improving; leaves the best weights in the model.

        Raises:
            RunFailed: the loss is not a number.
            Interrupted: a signal asked to stop; the state was saved.
        """
        self.checkpoints = checkpoints
        steps = n_batches(loader)
        direction = self.higher_is_better if valid is not None else False  # without validation: the training loss
        self.trainer.optimization.start(self.n_epoch, steps, direction)
        if self._resumed is None:
            self.at = Progress()
            self.loss_sum = self._zero()
            if self.balance is not None:
                self.balance.clear()
            if self.seed is not None:
                runtime.set_seed(self.seed)
        else:
            self._restore(self._resumed)
        self.watcher.on_start(steps, self.n_epoch)
        try:
            while self.at.epoch < self.n_epoch and self.at.stale < self.patience:
                self.train_epoch(loader, valid)
                self._end_epoch(valid)
        except Interrupted:
            if math.isfinite(self.loss_sum.item()):
                self._save({}, best=False)
            raise
        except (MemoryError, RuntimeError) as error:
            if isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error):
                raise RunFailed(f"out of memory: lower batch_size or embed_dim ({error})") from error
            raise
        if self.at.epoch < self.n_epoch:
            self.watcher.on_message(
                "info",
                "early_stop",
                f"{self.monitor} has not improved for {self.at.stale} epochs: stopped",
                {"epoch": self.at.epoch, "best_step": self.at.best_step, self.monitor: self.at.best},
            )
        if self.at.best_step != self.at.step:
            checkpoints.load_best(bare(self.trainer.model))

    def train_one_epoch(self, loader: Iterable[Any], log_interval: int) -> float:
        """Train for one epoch by itself, without validation; the mean loss of its rows."""
        self.trainer.optimization.start(self.n_epoch, n_batches(loader), False)
        loss = self.train_epoch(loader, log_interval=log_interval)
        self.trainer.optimization.end_epoch(loss)
        self._next_epoch()
        return loss

    def train_epoch(self, loader: Iterable[Any], valid: Iterable[Any] | None = None, log_interval: int = 1) -> float:
        """Train for the rest of the current epoch; the mean loss of its rows.

        Raises:
            DataError: the loader is empty.
        """
        at, watcher, trainer = self.at, self.watcher, self.trainer
        steps = n_batches(loader)
        trainer.model.train()
        self.began = time.perf_counter() - at.seconds
        for item in to_device(self._rest(loader), trainer.device):
            if valid is not None and self._due():
                self._evaluate_within(valid)
            loss, rows = trainer.step(item)
            self.loss_sum.add_(loss, alpha=rows)
            at.step += 1
            at.epoch_step += 1
            at.epoch_rows += rows
            if at.epoch_step % log_interval == 0:
                watcher.on_step(at.epoch + 1, at.epoch_step, steps, loss, at.epoch_rows)
            if at.epoch_step % CHECK_EVERY == 0:
                self._mean_loss()
            if at.epoch_step != steps and self._saves_within():
                self._mean_loss()
                self._save({}, best=False)
            signal = watcher.stop_requested()
            if signal is not None:
                raise Interrupted(signal)
        if at.epoch_step == 0 and at.epoch == 0:
            raise DataError("the training loader is empty: there are no rows to train on")
        if at.epoch_step == 0:
            raise DataError(
                f"the training loader yields nothing in epoch {at.epoch + 1}: it must be readable more than once,"
                " as a list or a DataLoader is and a generator is not"
            )
        return self._mean_loss()

    def _rest(self, loader: Iterable[Any]) -> Iterable[Any]:
        """The batches of the current epoch that are not trained yet."""
        position = getattr(loader, "set_position", None)
        if position is None:
            return itertools.islice(iter(loader), self.at.epoch_step, None)
        position(self.at.epoch, self.at.epoch_step)
        return loader

    def _mean_loss(self) -> float:
        mean = self.loss_sum.item() / max(self.at.epoch_rows, 1)
        if not math.isfinite(mean):
            raise RunFailed(
                f"the loss is not a number: epoch {self.at.epoch + 1}, at or before step {self.at.step};"
                " lower optimizer_params.lr, set clip_norm, or look for extreme values in dense features"
            )
        return mean

    def _due(self) -> bool:
        """Whether there is to be a validation before the next step, after a resume too."""
        at, every = self.at, self.eval_every_steps
        if not every or not at.step or at.step % every:
            return False
        return not at.records or at.records[-1]["step"] != at.step

    def _saves_within(self) -> bool:
        """Whether there is to be a checkpoint within the epoch."""
        due = getattr(self.checkpoints, "due", None)
        return due is not None and due(self.at.step)

    def _evaluate_within(self, valid: Iterable[Any]) -> None:
        paused = time.perf_counter()
        metrics = self.trainer.evaluate_metrics(self.trainer.model, valid)
        trained = paused - self.began - self.at.validated
        self.at.validated += time.perf_counter() - paused
        record = self._record(metrics, self._judge(metrics), trained)
        self._save(metrics, record.best)
        text = " ".join(f"val_{name} {value:.4f}" for name, value in metrics.items())
        self.watcher.on_message("info", "eval.result", f"step {self.at.step} {text}", asdict(record))

    def _end_epoch(self, valid: Iterable[Any] | None) -> None:
        at = self.at
        trained = time.perf_counter() - self.began - at.validated
        metrics = self.trainer.evaluate_metrics(self.trainer.model, valid) if valid is not None else {}
        best = self._judge(metrics) if valid is not None else True
        if best:
            at.best_step = at.step
        record = self._record(metrics, best, trained)
        value = metrics.get(self.monitor, math.nan) if valid is not None else record.train_loss
        if at.improved:
            at.stale = 0
        elif valid is not None and not math.isnan(value):
            at.stale += 1
        self.trainer.optimization.end_epoch(value)
        self._next_epoch()
        self._save(metrics, best)
        self.watcher.on_epoch(record)

    def _next_epoch(self) -> None:
        at = self.at
        at.epoch, at.epoch_step, at.epoch_rows, at.improved = at.epoch + 1, 0, 0, False
        at.seconds = at.validated = 0.0
        self.began = time.perf_counter()
        if self.balance is not None:
            self.balance.end_epoch()
        self.loss_sum.zero_()

    def _judge(self, metrics: Mapping[str, float]) -> bool:
        """Whether these weights are the best so far. A metric that is undefined only beats another such."""
        at, value = self.at, metrics[self.monitor]
        if math.isnan(value):
            self.watcher.on_message(
                "warn",
                "warning",
                f"validation {self.monitor} is undefined (are all its labels of one class?): it cannot tell the"
                " best weights, so the latest are kept until it can",
                {"epoch": at.epoch + 1, "metric": self.monitor},
            )
            best = at.best is None
        elif at.best is None:
            best = True
        else:
            best = value > at.best if self.higher_is_better else value < at.best
        if best:
            at.best = None if math.isnan(value) else value
            at.best_step = at.step
            at.improved = True
        return best

    def _record(self, metrics: Mapping[str, float], best: bool, trained: float) -> Epoch:
        record = Epoch(
            epoch=self.at.epoch + 1,
            step=self.at.step,
            train_loss=self._mean_loss(),
            metrics=dict(metrics),
            lr=self.trainer.optimization.lr,
            seconds=time.perf_counter() - self.began,
            rows_per_s=self.at.epoch_rows / trained if trained else 0.0,
            best=best,
            task_losses=self.balance.task_losses() if self.balance is not None else {},
            task_weights=self.balance.task_weights() if self.balance is not None else {},
        )
        self.at.records.append(asdict(record))
        return record

    def _save(self, metrics: Mapping[str, float], best: bool) -> None:
        assert self.checkpoints is not None
        self.at.seconds = time.perf_counter() - self.began if self.at.epoch_step else 0.0
        state = self.state() if getattr(self.checkpoints, "keeps_state", True) else {}
        self.checkpoints.save(self.at.step, self.at.epoch, bare(self.trainer.model), state, metrics, best)

    def _zero(self) -> Tensor:
        device = self.trainer.device
        return torch.zeros((), dtype=torch.float32 if device.type == "mps" else torch.float64, device=device)

    def state(self) -> dict[str, Any]:
        """Everything a resumed training needs besides the weights: a flat dict of tensors and JSON values."""
        return {
            **flatten("progress", asdict(self.at)),
            **flatten("loss_sum", self.loss_sum),
            **flatten("random", runtime.random_state(self.trainer.device)),
            **flatten("optimization", self.trainer.optimization.state()),
            **(flatten("balance", self.balance.state()) if self.balance is not None else {}),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continue at the saved position when ``fit`` is called next; the weights are the caller's to load.

        Raises:
            DataError: the position is none. ``fit`` raises it where something else does not fit.
        """
        self._resumed = dict(state)
        with fitting("the saved state"):
            self.at = Progress.of(unflatten("progress", state))

    def _restore(self, state: Mapping[str, Any]) -> None:
        self._resumed = None
        with fitting("the saved state"):
            self.at = Progress.of(unflatten("progress", state))
            self.loss_sum.copy_(unflatten("loss_sum", state))
            self.trainer.optimization.load_state(unflatten("optimization", state))
            if self.balance is not None:
                self.balance.load_state(unflatten("balance", state))
            runtime.set_random_state(unflatten("random", state), self.trainer.device)
