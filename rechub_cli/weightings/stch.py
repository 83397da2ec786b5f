"""Smooth Tchebycheff: the task that is worst against its nadir counts most."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from rechub_cli.errors import SpecError
from rechub_cli.optim.shared import Shared
from rechub_cli.schema import Task

ABSENT = -1e30  # the logarithm that stands for a task without labels


class STCH(nn.Module):
    """Smooth Tchebycheff scalarisation (Lin et al., ICML 2024, https://arxiv.org/abs/2402.19078).

    ``T * mu * logsumexp(log(L / nadir) / mu)``, the nadir being each task's mean loss in the last warm-up epoch. In the
    warm-up the sum of log L is minimised, in which the scale of a loss does not matter either. This is the form for
    deep networks, with the ideal point 0.

    Args:
        mu: the smaller, the more the worst task alone counts.
        warmup_epochs: epochs before the nadir is taken.

    Raises:
        SpecError: a value is not above 0.
    """

    weights: Tensor  # of each loss's gradient at the last step
    nadir: Tensor
    epochs: Tensor

    def __init__(self, tasks: Sequence[Task], *, mu: float = 1.0, warmup_epochs: int = 1) -> None:
        super().__init__()
        if mu <= 0 or warmup_epochs < 1:
            raise SpecError(f"stch: mu must be above 0 and warmup_epochs at least 1, not {mu} and {warmup_epochs}")
        self.mu, self.warmup_epochs = mu, warmup_epochs
        self.register_buffer("weights", torch.ones(len(tasks)))
        self.register_buffer("nadir", torch.ones(len(tasks)))
        self.register_buffer("epochs", torch.zeros((), dtype=torch.int64))

    def backward(self, losses: Sequence[Tensor], shared: Shared) -> None:
        values = torch.stack([*losses])
        here = values.detach() > 0
        known = values.where(here, 1.0)
        if self.epochs < self.warmup_epochs:
            shares = here.to(values)
            total = known.log().sum()
        else:
            logs = torch.where(here, (known / self.nadir).log() / self.mu, ABSENT)
            shares = len(values) * torch.softmax(logs.detach(), 0)
            total = len(values) * self.mu * torch.logsumexp(logs, 0)
        self.weights = torch.where(here, shares / known.detach(), 0.0)
        shared.backward(total)

    def after_step(self) -> None:
        """Nothing is learnt."""

    def epoch_end(self, losses: Tensor) -> None:
        """The nadir, when the warm-up ends."""
        self.epochs += 1
        if self.epochs == self.warmup_epochs:
            self.nadir = losses.to(self.nadir).nan_to_num(nan=1.0)
