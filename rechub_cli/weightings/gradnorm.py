"""GradNorm: tasks pull equally hard at the last shared layer, slow ones harder."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from rechub_cli.optim.shared import Shared
from rechub_cli.schema import Task

SMALLEST = 1e-3  # of a weight


class GradNorm(nn.Module):
    """Gradient normalisation (Chen et al., ICML 2018, https://arxiv.org/abs/1711.02257).

    With G the length of ``weight * loss``'s gradient of the last shared layer and r a task's inverse training rate (its
    loss over its first loss, over the mean of that over tasks), the weights descend on the sum over tasks of ``|G -
    mean(G) * r ** alpha|``, the target held constant; then they are scaled to sum to the number of tasks. The model
    descends on the losses with the weights of before. Each task costs a pass through its tower and down to that layer.

    DIFF: a weight stays above 0.001, for the paper's can cross 0. A task without labels in a batch takes no part there.

    Args:
        alpha: how much harder slow tasks pull; 0: all the same.
        lr: learning rate of the weights; None: that of the model.
    """

    first: Tensor  # each task's first loss; 0: none yet

    def __init__(self, tasks: Sequence[Task], *, alpha: float = 0.16, lr: float | None = 0.025) -> None:
        super().__init__()
        self.alpha, self.lr = alpha, lr
        self.task_weights = nn.Parameter(torch.ones(len(tasks)))
        self.register_buffer("first", torch.zeros(len(tasks)))

    @property
    def weights(self) -> Tensor:
        return self.task_weights.detach()

    def backward(self, losses: Sequence[Tensor], shared: Shared) -> None:
        norms = shared.norms(losses)
        values, weights = torch.stack([*losses]), self.weights
        now = values.detach()
        here = now > 0
        self.first = torch.where(here & (self.first == 0), now.to(self.first), self.first)
        count = here.sum().clamp(min=1)
        pull = weights * norms
        ratio = torch.where(here, now / self.first.where(self.first > 0, 1.0), 0.0)
        rate = ratio / (ratio.sum() / count).clamp(min=1e-12)
        target = pull.where(here, 0.0).sum() / count * rate**self.alpha
        self.task_weights.grad = torch.where(here, torch.sign(pull - target) * norms, 0.0).to(self.task_weights)
        shared.backward((weights * values).sum())

    @torch.no_grad()
    def after_step(self) -> None:
        """Positive weights that sum to the number of tasks."""
        weights = self.task_weights.clamp_(min=SMALLEST)
        weights.mul_(len(weights) / weights.sum())

    def epoch_end(self, losses: Tensor) -> None:
        """Nothing is learnt."""
