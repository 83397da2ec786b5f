"""MTLTrainer: several labels a row, such as click, conversion and watch time, learnt together."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from rechub_cli.errors import SpecError
from rechub_cli.optim.shared import Shared
from rechub_cli.schema import Task
from rechub_cli.trainers import runtime
from rechub_cli.trainers.batches import LoneRow, Rows, take
from rechub_cli.trainers.ctr import Loss
from rechub_cli.trainers.loop import Loop
from rechub_cli.trainers.monitor import OWN, Monitor
from rechub_cli.trainers.optimization import Optimization
from rechub_cli.trainers.parallel import Replicas
from rechub_cli.trainers.precision import usable_precision
from rechub_cli.trainers.replay import Replay
from rechub_cli.trainers.scoring import Scorer, load_metrics
from rechub_cli.trainers.task_losses import TaskLosses, find_task, find_tasks
from rechub_cli.trainers.watch import Checkpoints, LogWatcher, ModelFile, ModelLoggers, Watcher
from rechub_cli.trainers.weighting import Balance, load_weighting

if TYPE_CHECKING:
    import pandas as pd


class MTLTrainer:
    """Trains any multi-task model, on a loader of ``(x_dict, y)`` with y (B, T), or of Batches.

    A module that returns ``Output`` has logits; what any other returns, (B, T), are probabilities of classification and
    values of regression. A NaN label masks its task for that row. The training loss is the plain sum of the tasks'
    losses, whatever the weighting (DIFF: Torch-RecHub's is their mean).

    Args:
        model: any ``nn.Module``. It may name its ``shared_parameters()`` and its ``last_shared_parameters()``;
            otherwise they are found where a weighting needs them (``rechub_cli.optim.shared``).
        task_types: ``classification`` or ``regression`` for each label; those of ``tasks`` by default.
        adaptive_params: the weighting of the losses: ``{"method": "uwl"}``, ``{"method": "gradnorm", "alpha": 0.16}``,
            ``{"method": "metabalance"}`` or another registered one, with its options; equal by default. Torch-RecHub's
            ESMM, whose first output has no loss of its own: ``{"method": "static", "weights": [0, 1, 1]}``.
        earlystop_taskid: the label that tells the best weights, by place or name.
        earlystop_mode: ``max`` or ``min``, where the direction of ``monitor`` is not to decide.
        loss: a loss for all labels, or one for each: a list, or ``{label: loss}``. Registered names, or
            ``(predictions, labels, weights) -> scalar``. By default bce for classification and mse for regression.
        monitor: what tells the best weights: ``<metric>_<label>``, or a weighted sum
            ``{auc_click: 0.7, auc_buy: 0.3}``; auc (rmse of regression) of the label ``earlystop_taskid`` by default.
        metrics: further metrics to compute on validation rows, each for every label it fits.
        tasks: names, types and negative rates of the labels; those of ``model.schema`` by default.
        shared_parameters: the parameters that all tasks train, where neither the model nor the search is to decide.
        last_shared_parameters: those of the last shared layer.

    The others are those of ``CTRTrainer``.

    Raises:
        SpecError: a parameter has no meaning.
        Unavailable: there is no such device.
        CannotCreate: ``model_path`` cannot be written.
    """

    def __init__(
        self,
        model: nn.Module,
        task_types: Sequence[str] | None = None,
        optimizer_fn: Callable[..., torch.optim.Optimizer] = torch.optim.Adam,
        optimizer_params: Mapping[str, Any] | None = None,
        regularization_params: Mapping[str, float] | None = None,
        scheduler_fn: Callable[..., Any] | None = None,
        scheduler_params: Mapping[str, Any] | None = None,
        adaptive_params: Mapping[str, Any] | None = None,
        n_epoch: int = 10,
        earlystop_taskid: int | str = 0,
        earlystop_patience: int = 10,
        device: str = "cpu",
        gpus: list[int] | None = None,
        model_path: str = "./",
        model_logger: Any = None,
        earlystop_mode: str | None = None,
        *,
        loss_mode: bool = True,
        embedding_optimizer: Mapping[str, Any] | None = None,
        loss: str | Loss | Sequence[str | Loss] | Mapping[str, str | Loss] | None = None,
        monitor: Any = None,
        metrics: Sequence[Any] = (),
        clip_norm: float | None = None,
        precision: str = "fp32",
        eval_every_steps: int | None = None,
        seed: int | None = None,
        watcher: Watcher | None = None,
        checkpoints: Checkpoints | None = None,
        tasks: Sequence[Task] | None = None,
        shared_parameters: Iterable[Tensor] | None = None,
        last_shared_parameters: Iterable[Tensor] | None = None,
    ) -> None:
        runtime.prepare_training()
        self.device = runtime.find_device(device, gpus)
        schema_tasks = getattr(getattr(model, "schema", None), "tasks", ())
        self.tasks = find_tasks(task_types, tasks if tasks is not None else schema_tasks)
        main = find_task(earlystop_taskid, self.tasks)
        model.to(self.device)
        self.model: nn.Module = Replicas(model, gpus) if gpus else model
        self.optimization = Optimization(
            model,
            optimizer_fn,
            {"lr": 1e-3, "weight_decay": 1e-5} if optimizer_params is None else optimizer_params,
            embedding_optimizer,
            scheduler_fn,
            scheduler_params,
            regularization_params,
            clip_norm,
        )
        self.weighting = load_weighting(adaptive_params, self.tasks, main)
        if isinstance(self.weighting, nn.Module):
            self.weighting.to(self.device)
        self.optimization.add(self.weighting.parameters(), getattr(self.weighting, "lr", None))
        self.shared = Shared(model, shared_parameters, last_shared_parameters)
        self.balance = Balance(self.weighting, self.tasks, self.device)

        self.losses = TaskLosses(loss, self.tasks, self.device)
        self.judge = Monitor(monitor, self.tasks, main)
        self.monitor = self.judge.name
        self.own_names = [self._key(OWN[task.type], task) for task in self.tasks]
        own = dict.fromkeys(OWN[task.type] for task in self.tasks)
        asked = load_metrics(metrics, self.tasks)
        self.metrics = {**load_metrics([*own], self.tasks), **self.judge.metrics, **asked}
        self.shown = {
            *self.own_names,
            *self.judge.terms,
            *(self._key(name, task) for name in asked for task in self.tasks),
            *(f"{name}_{extra}" for name in asked for extra in getattr(model, "given", ())),
        }
        if earlystop_mode not in (None, "max", "min"):
            raise SpecError(f"earlystop_mode must be 'max' or 'min', not {earlystop_mode!r}")

        method = (adaptive_params or {}).get("method")
        learning_rate = {"n_epoch": n_epoch, "learning_rate": self.optimization.lr}
        self.watcher: Watcher = watcher or LogWatcher()
        if model_logger is not None:
            self.watcher = ModelLoggers(self.watcher, model_logger, {**learning_rate, "adaptive_method": method})
        usable = usable_precision(precision, self.device, self.watcher)
        self.scorer = Scorer(self.device, self.tasks, loss_mode, usable, self.watcher)
        self.replay = Replay(
            self._learn,
            self.model,
            self.optimization,
            self.device,
            self.watcher,
            losses=self.losses.losses,
            steady=getattr(self.weighting, "steady", False),
        )
        self.model_path = model_path
        self.checkpoints = checkpoints
        self.loop = Loop(
            self,
            n_epoch=n_epoch,
            patience=earlystop_patience,
            monitor=self.monitor,
            higher_is_better=self.judge.higher_is_better if earlystop_mode is None else earlystop_mode == "max",
            watcher=self.watcher,
            eval_every_steps=eval_every_steps,
            seed=seed,
            balance=self.balance,
        )

    def fit(
        self,
        train_dataloader: Iterable[Any],
        val_dataloader: Iterable[Any] | None = None,
        mode: str = "base",
        seed: int = 0,
    ) -> list[list[float]]:
        """Train; the best weights are in the model and in ``model_path/model_{mode}_{seed}.pth`` afterwards.

        ``mode`` and ``seed`` only name that file. For each epoch the list of the tasks' mean losses, followed, where
        there is validation, by each task's own metric: auc, or rmse of regression.

        Raises:
            RunFailed: the loss is not a number.
            Interrupted: the watcher asked to stop; the state was saved.
        """
        checkpoints = self.checkpoints or ModelFile(Path(self.model_path), f"model_{mode}_{seed}.pth")
        try:
            self.loop.fit(train_dataloader, val_dataloader, checkpoints)
        finally:
            if isinstance(self.watcher, ModelLoggers):
                self.watcher.finish()
        epochs = {record["epoch"]: record for record in self.loop.at.records}  # the last record ends the epoch
        return [
            [*record["task_losses"].values(), *(self._own(record["metrics"]) if record["metrics"] else [])]
            for record in epochs.values()
        ]

    def train_one_epoch(self, data_loader: Iterable[Any], log_interval: int = 10) -> list[float]:
        """Train for one epoch, telling the watcher of every ``log_interval``-th step; each task's mean loss."""
        self.loop.train_one_epoch(data_loader, log_interval)
        return self.balance.finished

    def evaluate(self, model: nn.Module, data_loader: Iterable[Any]) -> list[float]:
        """Each task's own metric: auc, or rmse of regression (DIFF: Torch-RecHub's is the mean squared error)."""
        return self._own(self.evaluate_metrics(model, data_loader))

    def evaluate_metrics(self, model: nn.Module, data_loader: Iterable[Any]) -> dict[str, float]:
        """All metrics, by ``<metric>_<label>``."""
        values = self.scorer.measure(model, data_loader, self.metrics)
        return self.judge.add_to({name: value for name, value in values.items() if name in self.shown})

    def predict(self, model: nn.Module, data_loader: Iterable[Any]) -> list[list[float]]:
        """The scores of each row, one for each task, in the loader's order; batches may have labels or not."""
        return [row for batch in self.scorer.batches(model, data_loader) for row in batch.scores.tolist()]

    def predict_batches(
        self, model: nn.Module, data_loader: Iterable[Any]
    ) -> Iterator[tuple[Tensor, Mapping[str, Tensor], Any]]:
        """For each batch: scores (B, T), the model's extras, and what the loader carries beside the batch."""
        for batch in self.scorer.batches(model, data_loader):
            yield batch.scores, batch.extras, batch.rows.carried

    @property
    def history(self) -> pd.DataFrame:
        """One row for each evaluation: epoch, step, train_loss, train_loss_<label>…, weight_<label>…, val_…, lr, best.

        The weights are those of the last step before it.
        """
        return self.loop.at.table()

    def state(self) -> dict[str, Any]:
        """What a resumed training needs besides the weights of the model: a flat dict of tensors and JSON values."""
        return self.loop.state()

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Let the next ``fit`` continue where ``state`` was taken; load the weights into the model yourself.

        Where no later epoch is better, the best weights are those that ``checkpoints``, or the file, had before.
        """
        self.loop.load_state(state)

    def step(self, item: Any) -> tuple[Tensor, int]:
        """Learn from one batch: the sum of its losses, and its rows."""
        rows = take(item, self.device)
        return self.replay(rows), rows.n

    def _learn(self, rows: Rows) -> Tensor:
        self.optimization.zero_grad()
        with LoneRow(self.model) if rows.n == 1 else contextlib.nullcontext():
            prediction = self.scorer.call(self.model, rows)
        losses = self.losses(prediction, rows)
        aux = prediction.aux_loss
        if aux is not None:
            aux = torch.as_tensor(aux).mean()  # one for each replica, perhaps
        self.shared.observe(prediction.values, aux)
        known = rows.known_labels()[: rows.n].isnan().logical_not_().sum(0)
        loss = self.balance.backward(losses, known, self.shared)
        self.optimization.update()
        self.weighting.after_step()
        return loss if aux is None else loss + aux.detach()

    def _own(self, metrics: Mapping[str, float]) -> list[float]:
        return [metrics[name] for name in self.own_names]

    def _key(self, metric: str, task: Task) -> str:
        """The name of a metric's value for a label."""
        return metric if len(self.tasks) == 1 else f"{metric}_{task.name}"
