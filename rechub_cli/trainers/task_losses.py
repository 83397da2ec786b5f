"""The labels of a training with several, and the loss of each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from rechub_cli import plugins
from rechub_cli.errors import DataError, SpecError
from rechub_cli.plugins.registry import unknown
from rechub_cli.schema import Task
from rechub_cli.trainers.batches import Rows
from rechub_cli.trainers.ctr import Loss, probability_bce
from rechub_cli.trainers.scoring import Prediction

LOSSES = {"classification": "bce", "regression": "mse"}


class TaskLosses:
    """Every label's own loss.

    Args:
        wanted: a loss for all labels, or one for each: a list, or ``{label: loss}``; None is bce, or mse of regression.
        tasks: the labels.

    Raises:
        SpecError: there is no such loss or label, or not one loss for each label.
    """

    def __init__(self, wanted: Any, tasks: Sequence[Task], device: torch.device) -> None:
        names = [task.name for task in tasks]
        if isinstance(wanted, Mapping):
            strange = [name for name in wanted if name not in names]
            if strange:
                raise SpecError("loss: " + unknown("label", str(strange[0]), names))
            wanted = [wanted.get(name) for name in names]
        elif not isinstance(wanted, list | tuple):
            wanted = [wanted] * len(tasks)
        if len(wanted) != len(tasks):
            raise SpecError(f"loss: there are {len(wanted)} losses for {len(tasks)} labels")
        chosen = [LOSSES[task.type] if loss is None else loss for loss, task in zip(wanted, tasks, strict=True)]
        self.losses: list[Loss] = [plugins.load("loss", one) if isinstance(one, str) else one for one in chosen]
        # A module that returns probabilities gets the cross-entropy of those.
        self.of_probabilities = [isinstance(one, str) and one.lower() == "bce" for one in chosen]
        offsets = [-math.log(task.negative_rate) for task in tasks]
        self.offset = torch.tensor(offsets, device=device) if any(offsets) else None

    def __call__(self, prediction: Prediction, rows: Rows) -> list[Tensor]:
        """A scalar for each label; 0 where a batch has none of it.

        Raises:
            DataError: the rows have other labels than the model predicts.
        """
        labels, values, n_tasks = rows.known_labels(), prediction.values, len(self.losses)
        if not values.shape[1] == labels.shape[1] == n_tasks:
            raise DataError(
                f"there are {n_tasks} tasks: rows have {labels.shape[1]} labels, the model predicts {values.shape[1]}"
            )
        if self.offset is not None:  # sampled rows have more positives than the world has
            values = self._shifted(values, prediction.logits)
        losses = []
        for place, loss in enumerate(self.losses):
            weights = rows.weights
            if rows.label_weights is not None:
                own = rows.label_weights[:, place]
                weights = own if weights is None else weights * own
            if not prediction.logits and self.of_probabilities[place]:
                loss = probability_bce
            column = slice(place, place + 1)
            losses.append(loss(values[:, column], labels[:, column], weights))
        return losses

    def _shifted(self, values: Tensor, logits: bool) -> Tensor:
        assert self.offset is not None
        if logits:
            return values + self.offset
        # The same in terms of probabilities; values of regression have no offset and stay.
        shifted = values / (values + (1 - values) * (-self.offset).exp())
        return torch.where(self.offset != 0, shifted, values)


def find_tasks(task_types: Sequence[str] | None, tasks: Sequence[Task]) -> tuple[Task, ...]:
    """The labels; named by their place where only their types are given.

    Raises:
        SpecError: a type is unknown, there are none, or both are given and differ.
    """
    for kind in task_types or ():
        if kind not in LOSSES:
            raise SpecError(unknown("task type", str(kind), list(LOSSES)))
    if not tasks:
        tasks = [Task(str(place), kind) for place, kind in enumerate(task_types or ())]  # type: ignore[arg-type]
    if not tasks:
        raise SpecError('MTLTrainer needs the type of each label: task_types=["classification", "regression"]')
    types = [task.type for task in tasks]
    if task_types is not None and list(task_types) != types:
        raise SpecError(f"task_types are {list(task_types)}, but the labels are {types}")
    return tuple(tasks)


def find_task(wanted: int | str, tasks: Sequence[Task]) -> Task:
    """A label by its place or its name.

    Raises:
        SpecError: there is no such label.
    """
    names = [task.name for task in tasks]
    if isinstance(wanted, int) and 0 <= wanted < len(tasks):
        return tasks[wanted]
    if wanted in names:
        return tasks[names.index(str(wanted))]
    raise SpecError(
        f"earlystop_taskid {wanted!r} is not a label: give its place from 0 to {len(tasks) - 1},"
        f" or its name ({', '.join(names)})"
    )
