"""Calling a model on batches, and measuring what it says: the same for every trainer that predicts labels."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rechub_cli import plugins
from rechub_cli.batch import Output
from rechub_cli.errors import DataError, Interrupted, RunFailed, SpecError
from rechub_cli.schema import Task
from rechub_cli.trainers.batches import Rows, take
from rechub_cli.trainers.parallel import bare
from rechub_cli.trainers.precision import usable_precision
from rechub_cli.trainers.side_by_side import at_a_time, side_by_side
from rechub_cli.trainers.transfer import to_device
from rechub_cli.trainers.watch import Watcher


@dataclass(slots=True)
class Prediction:
    """What a model said of one batch."""

    values: Tensor  # float32 (B, T): logits, or what a foreign module returned
    logits: bool
    aux_loss: Tensor | None = None
    extras: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Scores:
    """Scored rows of one batch, on the CPU of the model's device."""

    scores: Tensor  # float32 (B, T): probabilities of classification, values of regression
    extras: Mapping[str, Tensor]
    rows: Rows


class Scorer:
    """Calls models the way a trainer is set up to.

    Args:
        tasks: the types of the labels; classification for all where it is empty.
        loss_mode: False where a foreign module returns ``(y, other_loss)``.
        precision: ``bf16`` runs the forward pass under autocast where the device has it; scores are float32 again.
    """

    def __init__(
        self, device: torch.device, tasks: Sequence[Task], loss_mode: bool, precision: str, watcher: Watcher
    ) -> None:
        self.device = device
        self.tasks = tuple(tasks)
        self.loss_mode = loss_mode
        self.bf16 = usable_precision(precision, device) == "bf16"
        self.watcher = watcher
        self.values = [i for i, task in enumerate(self.tasks) if task.type == "regression"]  # as they stand

    def call(self, model: nn.Module, rows: Rows) -> Prediction:
        """Run the model.

        Raises:
            SpecError: the module does not return what ``loss_mode`` says, or not one value a row.
        """
        with torch.autocast(self.device.type, torch.bfloat16) if self.bf16 else contextlib.nullcontext():
            output = model(rows.inputs)
        if isinstance(output, Output):
            if output.logits.dim() != 2 or len(output.logits) != rows.size:
                shape = tuple(output.logits.shape)
                raise SpecError(f"the model returns logits of shape {shape} for {rows.size} rows, not (rows, labels)")
            return Prediction(output.logits.float(), True, output.aux_loss, output.extras)
        other = None
        if not self.loss_mode and isinstance(output, tuple | list) and len(output) == 2:
            output, other = output
        if not isinstance(output, Tensor):
            kind = f"{len(output)} values" if isinstance(output, tuple | list) else type(output).__name__
            wanted = "a tensor of probabilities" if self.loss_mode else "(probabilities, other_loss)"
            raise SpecError(f"the model returns {kind}, not {wanted}: loss_mode=False is for (y, other_loss)")
        if output.numel() % rows.size or not output.numel():
            raise SpecError(f"the model returns a tensor of shape {tuple(output.shape)} for {rows.size} rows")
        return Prediction(output.float().reshape(rows.size, -1), False, other)

    def batches(self, model: nn.Module, loader: Iterable[Any]) -> Iterator[Scores]:
        """Score every batch in order, in evaluation mode.

        Raises:
            Interrupted: a signal asked to stop.
        """
        was_training = model.training
        model.eval()
        items = to_device(loader, self.device)
        try:
            work = side_by_side(partial(self._score, model), items, at_a_time(model, self.device))
            with contextlib.closing(work) as results:
                for scored in results:
                    yield scored
                    signal = self.watcher.stop_requested()
                    if signal is not None:
                        raise Interrupted(signal)
        finally:
            model.train(was_training)

    @torch.inference_mode()
    def _score(self, model: nn.Module, item: Any) -> Scores:
        rows = take(item, self.device)
        prediction = self.call(model, rows)
        extras = {name: extra[: rows.n] for name, extra in prediction.extras.items()}
        return Scores(self._scores(prediction)[: rows.n], extras, rows)

    def _scores(self, prediction: Prediction) -> Tensor:
        values = prediction.values.detach()
        if not prediction.logits or len(self.values) == values.shape[1]:
            return values
        scores = values.sigmoid()
        if self.values:
            scores[:, self.values] = values[:, self.values]
        return scores

    def measure(
        self,
        model: nn.Module,
        loader: Iterable[Any],
        metrics: Mapping[str, Any],
        each: Callable[[Scores], None] | None = None,
    ) -> dict[str, float]:
        """The metrics over all rows of a loader; see ``collect`` and ``Scored.metrics``."""
        return self.collect(model, loader, each).metrics(metrics)

    def collect(self, model: nn.Module, loader: Iterable[Any], each: Callable[[Scores], None] | None = None) -> Scored:
        """The scores of all rows of a loader beside their labels. ``each`` is handed every scored batch on the way,
        say to write it.

        Raises:
            DataError: no rows, or no labels.
            RunFailed: a prediction is not a finite number.
        """
        given: Mapping[str, tuple[int, int]] = getattr(bare(model), "given", {})
        parts: list[tuple[Tensor, ...]] = []
        for scored in self.batches(model, loader):
            if each is not None:
                each(scored)
            known = scored.rows.known_labels()[: scored.rows.n]
            beside = [part for part in _beside(scored.rows) if part is not None]
            extras = torch.stack([scored.extras[name] for name in given], dim=1) if given else known[:, :0]
            parts.append(tuple(part.cpu() for part in (scored.scores, known, extras, *beside)))
            has = [part is not None for part in _beside(scored.rows)]
        if not parts:
            raise DataError("there are no rows to evaluate")
        scores, labels, derived, *arrays = (torch.cat(column).numpy() for column in zip(*parts, strict=True))
        row_weights, label_weights, group = (arrays.pop(0) if there else None for there in has)
        bad = int((~np.isfinite(scores)).any(axis=1).sum())
        if bad:
            raise RunFailed(f"{bad:,} of {len(scores):,} predictions are not finite numbers: lower the learning rate")
        if labels.shape != scores.shape:
            raise DataError(
                f"the model predicts {scores.shape[1]} values a row, but rows have {labels.shape[1]} labels"
            )
        tasks = self.tasks or tuple(Task(str(i)) for i in range(scores.shape[1]))
        return Scored(tasks, scores, labels, derived, given, row_weights, label_weights, group)


@dataclass(frozen=True, slots=True)
class Scored:
    """Scores of N rows beside their labels: what metrics are computed from, over all rows or some.

    Shape legend: N rows, T labels, D derived predictions.
    """

    tasks: Sequence[Task]
    scores: np.ndarray  # float32 (N, T)
    labels: np.ndarray  # float32 (N, T), NaN = masked
    derived: np.ndarray  # float32 (N, D)
    given: Mapping[str, tuple[int, int]]  # what those predict: name -> (label, the label that is 1 where it counts)
    row_weights: np.ndarray | None  # float32 (N,)
    label_weights: np.ndarray | None  # float32 (N, T)
    group: np.ndarray | None  # int64 (N,)

    def __len__(self) -> int:
        return len(self.scores)

    def take(self, rows: np.ndarray) -> Scored:
        """Some of the rows, by their places; one may be taken several times."""
        beside = [None if part is None else part[rows] for part in (self.row_weights, self.label_weights, self.group)]
        scores, labels, derived = self.scores[rows], self.labels[rows], self.derived[rows]
        return Scored(self.tasks, scores, labels, derived, self.given, *beside)

    def metrics(self, metrics: Mapping[str, Any]) -> dict[str, float]:
        """The metrics of these rows; ``<metric>_<label>`` where there are several labels.

        Of a model that says what its extras predict, ``given = {"cvr": (1, 0)}``, they are measured too: that extra
        against label 1, in the rows whose label 0 is 1. Rows whose label is masked, or whose weight for it is 0, are
        left out.

        Raises:
            SpecError: a metric needs groups and the rows have none.
        """
        result = {}
        everywhere = np.ones(len(self), bool)
        subjects = [(task, column, self.scores[:, column], everywhere) for column, task in enumerate(self.tasks)]
        for place, (name, (column, before)) in enumerate(self.given.items()):
            subjects.append((Task(name), column, self.derived[:, place], self.labels[:, before] == 1))
        for task, column, predicted, among in subjects:
            pick = among & ~np.isnan(self.labels[:, column])
            weights = self.row_weights
            if self.label_weights is not None:
                own = self.label_weights[:, column]
                weights = own if weights is None else weights * own
            if weights is not None:
                pick &= weights > 0  # else a metric may divide by nothing
            for name, metric in metrics.items():
                if not fits(metric, task, self.tasks):
                    continue
                if metric.needs_group and self.group is None:
                    raise SpecError(f"metric {name} needs the group of each row: name its column with `group:`")
                result[name if len(subjects) == 1 else f"{name}_{task.name}"] = metric(
                    self.labels[pick, column],
                    predicted[pick],
                    None if weights is None else weights[pick],
                    None if self.group is None else self.group[pick],
                )
        return result


def _beside(rows: Rows) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    return rows.weights, rows.label_weights, rows.group


def fits(metric: Any, task: Task, tasks: Sequence[Task]) -> bool:
    """Whether a metric says something of a label: one that is first of all for numbers, such as rmse, is for these
    alone where there are any."""
    if metric.tasks[0] == "regression" and any(one.type == "regression" for one in tasks):
        return task.type == "regression"
    return task.type in metric.tasks


def load_metrics(names: Sequence[Any], tasks: Sequence[Task]) -> dict[str, Any]:
    """Metrics by name, or objects like them (named after their class).

    Raises:
        SpecError: a name is not known, or the metric is of no use for these labels.
    """
    types = {task.type for task in tasks}
    metrics = {}
    for name in names:
        metric: Any = plugins.load_metric(name) if isinstance(name, str) else name
        key = metric_key(name)
        missing = [part for part in ("higher_is_better", "tasks", "needs_group") if not hasattr(metric, part)]
        if missing:
            raise SpecError(f"metric {key} does not say its {missing[0]}: it is no metric")
        if types and not types & set(metric.tasks):
            raise SpecError(f"metric {key} is for {' and '.join(metric.tasks)} labels, not for {' and '.join(types)}")
        metrics[key] = metric
    return metrics


def metric_key(name: Any) -> str:
    """The name a metric's value goes by: lower case, or the class of an object."""
    if isinstance(name, str):
        return name if ":" in name else name.lower()
    return type(name).__name__.lower()
