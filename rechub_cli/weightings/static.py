"""Weights that the user gives."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from rechub_cli.errors import SpecError
from rechub_cli.optim.shared import Shared
from rechub_cli.schema import Task


class Static(nn.Module):
    """The weighted sum of the losses, with weights that stay.

    Args:
        weights: one for each task, in their order, or ``{task: weight}`` (1 for those not named). 0 leaves a loss out.

    Raises:
        SpecError: a weight is negative, all are 0, there is not one for each task, or a task is unknown.
    """

    steady = True
    weights: Tensor

    def __init__(self, tasks: Sequence[Task], *, weights: dict[str, float] | list[float]) -> None:
        super().__init__()
        names = [task.name for task in tasks]
        if isinstance(weights, dict):
            unknown = [name for name in weights if name not in names]
            if unknown:
                raise SpecError(f"static weights: {unknown[0]!r} is not a label; the labels are {', '.join(names)}")
            weights = [weights.get(name, 1.0) for name in names]
        if len(weights) != len(names):
            raise SpecError(f"static weights: there are {len(weights)} for {len(names)} labels ({', '.join(names)})")
        if not any(weights) or any(weight < 0 or not math.isfinite(weight) for weight in weights):
            raise SpecError(f"static weights must be numbers from 0 on, and one above 0; they are {list(weights)}")
        self.register_buffer("weights", torch.tensor(weights, dtype=torch.get_default_dtype()), persistent=False)

    def backward(self, losses: Sequence[Tensor], shared: Shared) -> None:
        shared.backward((self.weights * torch.stack([*losses])).sum())

    def after_step(self) -> None:
        """Nothing is learnt."""

    def epoch_end(self, losses: Tensor) -> None:
        """Nothing is learnt."""
