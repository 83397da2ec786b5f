"""Dynamic weight average: tasks whose loss falls slowly count more."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from rechub_cli.errors import SpecError
from rechub_cli.optim.shared import Shared
from rechub_cli.schema import Task


class DWA(nn.Module):
    """Dynamic weight average (Liu, Johns, Davison, CVPR 2019, https://arxiv.org/abs/1803.10704).

    In each epoch the weights are ``T * softmax(ratio / temperature)``, ratio being a task's mean loss in the last epoch
    over that in the one before; in the first two epochs they are 1. A task without labels in an epoch has the ratio 1.

    Args:
        temperature: the higher, the more alike the weights.

    Raises:
        SpecError: the temperature is not above 0.
    """

    weights: Tensor
    previous: Tensor  # NaN: not known yet

    def __init__(self, tasks: Sequence[Task], *, temperature: float = 2.0) -> None:
        super().__init__()
        if temperature <= 0:
            raise SpecError(f"dwa: the temperature must be above 0, not {temperature}")
        self.temperature = temperature
        self.register_buffer("weights", torch.ones(len(tasks)))
        self.register_buffer("previous", torch.full((len(tasks),), torch.nan))

    def backward(self, losses: Sequence[Tensor], shared: Shared) -> None:
        shared.backward((self.weights * torch.stack([*losses])).sum())

    def after_step(self) -> None:
        """Weights change between epochs only."""

    def epoch_end(self, losses: Tensor) -> None:
        """The weights of the next epoch."""
        losses = losses.to(self.previous)
        ratio = (losses / self.previous).nan_to_num(nan=1.0, posinf=1.0)
        self.weights = len(ratio) * torch.softmax(ratio / self.temperature, 0)
        self.previous = torch.where(losses.isnan(), self.previous, losses)
