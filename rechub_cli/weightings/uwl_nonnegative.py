"""Uncertainty weighting whose total is never negative."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rechub_cli.optim.shared import Shared
from rechub_cli.schema import Task


class NonNegativeUWL(nn.Module):
    """Uncertainty weighting with a positive penalty (Liebel and Körner, 2018, https://arxiv.org/abs/1805.06334).

    ``factor * exp(-s) * L + log(1 + exp(s))``, summed; the factor is 0.5 for regression and 1 for classification.
    Where ``uwl`` goes on to enlarge the weight of a loss that nears 0, as 1 / L, this does as 1 / sqrt(L): the
    variance settles where ``exp(2s) / (1 + exp(s)) = factor * L``.

    DIFF: the paper has the factor 0.5 for every task; here it tells the types apart, as in ``uwl``.

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
        terms = self.factor * torch.exp(-s) * values + F.softplus(s)
        here = values.detach() != 0  # nothing is learnt of a task without labels
        shared.backward(terms.where(here, 0.0).sum())

    def after_step(self) -> None:
        """The optimizer has moved s."""

    def epoch_end(self, losses: Tensor) -> None:
        """Nothing is learnt."""
