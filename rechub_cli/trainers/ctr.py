"""CTRTrainer: one label a row, usually click or no click."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rechub_cli import plugins
from rechub_cli.errors import DataError, RunFailed, SpecError
from rechub_cli.schema import Task
from rechub_cli.trainers import runtime
from rechub_cli.trainers.batches import LoneRow, Rows, take
from rechub_cli.trainers.loop import Loop
from rechub_cli.trainers.optimization import Optimization
from rechub_cli.trainers.parallel import Replicas
from rechub_cli.trainers.precision import usable_precision
from rechub_cli.trainers.replay import Replay
from rechub_cli.trainers.scoring import Prediction, Scorer, load_metrics, metric_key
from rechub_cli.trainers.watch import Checkpoints, LogWatcher, ModelFile, ModelLoggers, Watcher

if TYPE_CHECKING:
    import pandas as pd

Loss = Callable[[Tensor, Tensor, Tensor | None], Tensor]
NOT_PROBABILITIES = (
    "the model returns values outside 0..1: a module that is not called with a Batch must return"
    " probabilities (sigmoid applied), one that declares logits returns rechub_cli.batch.Output"
)
NOT_CLASSES = (
    "labels are outside 0..1: a classification's are 0 or 1; where the label is a number, give the trainer"
    ' tasks=[rechub_cli.schema.Task("label", "regression")]'
)


class CTRTrainer:
    """Trains any single-task model, on a loader of ``(x_dict, y)`` or of Batches.

    A module that returns ``Output`` has logits; what any other returns are probabilities. The weights that
    are best on the validation rows are left in the model and in ``model_path/model.pth``, whether or not
    early stopping fired; ``history`` tells the whole story.

    Args:
        model: any ``nn.Module``.
        optimizer_fn: makes the optimizer from the parameters.
        optimizer_params: ``{"lr": 1e-3, "weight_decay": 1e-5}`` by default.
        regularization_params: ``embedding_l1, embedding_l2, dense_l1, dense_l2``: penalties on the weights.
        scheduler_fn: any torch scheduler, those that step per batch and ReduceLROnPlateau too.
        scheduler_params: its parameters; ``step: "batch"`` moves any scheduler at every batch.
        n_epoch: epochs at most.
        earlystop_patience: epochs without a better ``monitor`` before training stops.
        device: ``cpu``, ``cuda:0``, or ``auto``.
        gpus: GPUs to spread each batch over; the first holds the weights.
        loss_mode: False where the model returns ``(y, other_loss)``; the losses are added.
        model_path: folder of ``model.pth``; it is made if it is not there.
        model_logger: one or several objects with ``log_hyperparams(dict)``, ``log_metrics(dict, step)``, ``finish()``.
        embedding_optimizer: ``{"name": "auto", "lr": None, "l2": 0}`` for models with an EmbeddingTable.
        loss: a registered loss, or ``(predictions, labels, weights) -> scalar``; binary cross-entropy, or mse
            where the label is a regression's.
        monitor: the metric that tells the best weights; auc, or rmse for regression.
        metrics: further metrics to compute on validation rows; names, or objects like the built-in ones.
        clip_norm: the gradients' norm is at most this.
        precision: ``fp32``, or ``bf16`` for the forward pass.
        eval_every_steps: validate within epochs too.
        seed: of the randomness within training, such as dropout.
        watcher: follows the training.
        checkpoints: keeps the weights instead of ``model_path``.
        tasks: the label's type and negative rate; those of ``model.schema`` by default.

    Raises:
        SpecError: a parameter has no meaning.
        Unavailable: there is no such device.
        CannotCreate: ``model_path`` cannot be written.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer_fn: Callable[..., torch.optim.Optimizer] = torch.optim.Adam,
        optimizer_params: Mapping[str, Any] | None = None,
        regularization_params: Mapping[str, float] | None = None,
        scheduler_fn: Callable[..., Any] | None = None,
        scheduler_params: Mapping[str, Any] | None = None,
        n_epoch: int = 10,
        earlystop_patience: int = 10,
        device: str = "cpu",
        gpus: list[int] | None = None,
        loss_mode: bool = True,
        model_path: str = "./",
        model_logger: Any = None,
        *,
        embedding_optimizer: Mapping[str, Any] | None = None,
        loss: str | Loss | None = None,
        monitor: Any = None,
        metrics: Sequence[Any] = (),
        clip_norm: float | None = None,
        precision: str = "fp32",
        eval_every_steps: int | None = None,
        seed: int | None = None,
        watcher: Watcher | None = None,
        checkpoints: Checkpoints | None = None,
        tasks: Sequence[Task] | None = None,
    ) -> None:
        runtime.prepare_training()
        self.device = runtime.find_device(device, gpus)
        tasks = tasks if tasks is not None else getattr(getattr(model, "schema", None), "tasks", ())
        if len(tasks) > 1:
            raise SpecError(f"CTRTrainer learns one label, not {len(tasks)} ({', '.join(task.name for task in tasks)})")
        regression = bool(tasks) and tasks[0].type == "regression"

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

        loss = loss or ("mse" if regression else "bce")
        # A module that returns probabilities gets the cross-entropy of those.
        self.probability_loss = isinstance(loss, str) and loss.lower() == "bce"
        self.loss: Loss = plugins.load("loss", loss) if isinstance(loss, str) else loss
        offsets = [-math.log(task.negative_rate) for task in tasks]
        self.offset = torch.tensor(offsets, device=self.device) if any(offsets) else None

        monitor = monitor or ("rmse" if regression else "auc")
        self.monitor = metric_key(monitor)
        self.metrics = load_metrics([monitor, *metrics], tasks)
        judge = self.metrics[self.monitor]
        if not getattr(judge, "monitor", True):
            raise SpecError(f"{self.monitor} cannot be monitored: neither higher nor lower is better")

        hyperparameters = {"n_epoch": n_epoch, "learning_rate": self.optimization.lr, "loss_mode": loss_mode}
        self.watcher: Watcher = watcher or LogWatcher()
        if model_logger is not None:
            self.watcher = ModelLoggers(self.watcher, model_logger, hyperparameters)
        usable = usable_precision(precision, self.device, self.watcher)
        self.scorer = Scorer(self.device, tasks, loss_mode, usable, self.watcher)
        self.replay = Replay(self._learn, self.model, self.optimization, self.device, self.watcher, losses=[self.loss])
        self.model_path = model_path
        self.checkpoints = checkpoints
        self.loop = Loop(
            self,
            n_epoch=n_epoch,
            patience=earlystop_patience,
            monitor=self.monitor,
            higher_is_better=judge.higher_is_better,
            watcher=self.watcher,
            eval_every_steps=eval_every_steps,
            seed=seed,
        )

    def fit(self, train_dataloader: Iterable[Any], val_dataloader: Iterable[Any] | None = None) -> None:
        """Train; the best weights are in the model afterwards, the last ones where there is no validation.

        Raises:
            RunFailed: the loss is not a number.
            Interrupted: the watcher asked to stop; the state was saved.
        """
        try:
            self.loop.fit(train_dataloader, val_dataloader, self.checkpoints or ModelFile(self.model_path))
        finally:
            if isinstance(self.watcher, ModelLoggers):
                self.watcher.finish()

    def train_one_epoch(self, data_loader: Iterable[Any], log_interval: int = 10) -> float:
        """Train for one epoch, telling the watcher of every ``log_interval``-th step; the mean loss."""
        return self.loop.train_one_epoch(data_loader, log_interval)

    def evaluate(self, model: nn.Module, data_loader: Iterable[Any]) -> float:
        """The monitored metric, AUC by default."""
        metrics = self.scorer.measure(model, data_loader, {self.monitor: self.metrics[self.monitor]})
        return next(iter(metrics.values()))

    def evaluate_metrics(self, model: nn.Module, data_loader: Iterable[Any]) -> dict[str, float]:
        """All metrics, by name."""
        return self.scorer.measure(model, data_loader, self.metrics)

    def predict(self, model: nn.Module, data_loader: Iterable[Any]) -> list[Any]:
        """The score of each row, in the loader's order; batches may have labels or not."""
        scores = [batch.scores.cpu() for batch in self.scorer.batches(model, data_loader)]
        if not scores:
            return []
        joined = torch.cat(scores)
        return (joined[:, 0] if joined.shape[1] == 1 else joined).tolist()

    def predict_batches(
        self, model: nn.Module, data_loader: Iterable[Any]
    ) -> Iterator[tuple[Tensor, Mapping[str, Tensor], Any]]:
        """For each batch: scores (B, T), the model's extras, and what the loader carries beside the batch."""
        for batch in self.scorer.batches(model, data_loader):
            yield batch.scores, batch.extras, batch.rows.carried

    @property
    def history(self) -> pd.DataFrame:
        """One row for each evaluation: epoch, step, train_loss, val_<metric>…, lr, seconds, rows_per_s, best."""
        return self.loop.at.table()

    def state(self) -> dict[str, Any]:
        """What a resumed training needs besides the weights: a flat dict of tensors and JSON values."""
        return self.loop.state()

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Let the next ``fit`` continue where ``state`` was taken; load the weights into the model yourself.

        Where no later epoch is better, the best weights are those that ``checkpoints``, or ``model.pth``, had before.
        """
        self.loop.load_state(state)

    def step(self, item: Any) -> tuple[Tensor, int]:
        """Learn from one batch: its loss, and its rows."""
        rows = take(item, self.device)
        return self.replay(rows), rows.n

    def _learn(self, rows: Rows) -> Tensor:
        self.optimization.zero_grad()
        with LoneRow(self.model) if rows.n == 1 else contextlib.nullcontext():
            prediction = self.scorer.call(self.model, rows)
        loss = self._loss(prediction, rows)
        loss.backward()
        self.optimization.update()
        return loss.detach()

    def _loss(self, prediction: Prediction, rows: Rows) -> Tensor:
        labels, values = rows.known_labels(), prediction.values
        if not values.shape[1] == labels.shape[1] == 1:
            raise DataError(
                f"CTRTrainer learns one label: rows have {labels.shape[1]}, the model predicts {values.shape[1]}"
            )
        if prediction.logits:
            if self.offset is not None:  # sampled rows have more positives than the world has
                values = values + self.offset
            loss = self.loss(values, labels, rows.weights)
        elif self.probability_loss:
            if self.offset is not None:  # the same in terms of probabilities
                values = values / (values + (1 - values) * (-self.offset).exp())
            loss = probability_bce(values, labels, rows.weights)
        else:
            loss = self.loss(values, labels, rows.weights)
        if prediction.aux_loss is not None:
            loss = loss + torch.as_tensor(prediction.aux_loss).mean()  # one for each replica, perhaps
        return loss


def probability_bce(probabilities: Tensor, labels: Tensor, weights: Tensor | None) -> Tensor:
    """Mean binary cross-entropy of probabilities (B, T); NaN labels are masked.

    Raises:
        SpecError: a value is outside 0..1.
        DataError: a label is.
        RunFailed: a value is not a number.
    """
    weight = labels.isnan().logical_not_().float()
    if weights is not None:
        weight = weight * weights[:, None]
    try:
        total = F.binary_cross_entropy(probabilities, labels.nan_to_num(0.0), weight, reduction="sum")
    except RuntimeError as error:
        if "between 0 and 1" not in str(error):
            raise
        if "target" in str(error):
            raise DataError(NOT_CLASSES) from error
        if probabilities.isnan().any():
            raise RunFailed("the model's predictions are not numbers: lower optimizer_params.lr") from error
        raise SpecError(NOT_PROBABILITIES) from error
    return total / weight.sum().clamp_min(1e-12)
