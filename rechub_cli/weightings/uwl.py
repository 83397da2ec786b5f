"""Uncertainty weighting: each task's noise is learnt, and noisy tasks count less."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from rechub_cli.optim.shared import Shared
from rechub_cli.schema import Task


class UWL(nn.Module):
    """Uncertainty-weighted losses (Kendall, Gal, Cipolla, CVPR 2018, https://arxiv.org/abs/1705.07115).

    With s the logarithm of a task's variance, ``0.5 * exp(-s) * L + 0.5 * s`` for regression and ``exp(-s) * L + 0.5 *
    s`` for classification, summed; s is free to be negative, and settles at log L, and at log 2L. The sum may be
    negative too.

    DIFF: Torch-RecHub's "uwl" is ``2 * exp(-w) * L + w`` with w kept from below 0, where its gradient is zero: there a
    loss below 0.5 keeps the weight 2 for ever.

    Args:
        init: s of every task at first.
        lr: learning rate of s; that of the model by default.
    """

    steady = True
    factor: Tensor

    def __init__(self, tasks: Sequence[Task], *, init: float = 0.0, lr: float | None = None) -> None:
        super().__init__()
        self.lr = lr
        self.log_variance = nn.Parameter(torch.full((len(tasks),), init, dtype=torch.get_default_dtype()))
        halves = [0.5 if task.type == "regression" else 1.0 for task in tasks]
        self.register_buffer("factor", torch.tensor(halves, dtype=torch.get_default_dtype()), persistent=False)

    @property
    def weights(self) -> Tensor:
        return self.factor * torch.exp(-self.log_variance.detach())

    def backward(self, losses: Sequence[Tensor], shared: Shared) -> None:
        values, s = torch.stack([*losses]), self.log_variance
        terms = self.factor * torch.exp(-s) * values + 0.5 * s
        here = values.detach() != 0  # nothing is learnt of a task without labels
        shared.backward(terms.where(here, 0.0).sum())

    def after_step(self) -> None:
        """The optimizer has moved s."""

    def epoch_end(self, losses: Tensor) -> None:
        """Nothing is learnt."""
