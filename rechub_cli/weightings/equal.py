"""Every task's loss counts the same."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from rechub_cli.optim.shared import Shared
from rechub_cli.schema import Task


class Equal(nn.Module):
    """The sum of the losses."""

    steady = True
    weights: Tensor

    def __init__(self, tasks: Sequence[Task]) -> None:
        super().__init__()
        self.register_buffer("weights", torch.ones(len(tasks)), persistent=False)

    def backward(self, losses: Sequence[Tensor], shared: Shared) -> None:
        shared.backward(torch.stack([*losses]).sum())

    def after_step(self) -> None:
        """Nothing is learnt."""

    def epoch_end(self, losses: Tensor) -> None:
        """Nothing is learnt."""
