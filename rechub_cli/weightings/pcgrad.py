"""PCGrad: what of a task's gradient works against another task is taken out."""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from rechub_cli.optim.gradients import dot, weighted_sum
from rechub_cli.optim.shared import Shared
from rechub_cli.schema import Task


class PCGrad(nn.Module):
    """Projected conflicting gradients (Yu et al., NeurIPS 2020, https://arxiv.org/abs/2001.06782).

    Over all shared parameters as one vector: each task's gradient is projected onto the normal plane of every other's
    that it has a negative inner product with, in random order; the results are added. Parameters that are not shared
    get the plain sum. Each task costs a backward pass of its own.

    The sum is a combination of the tasks' gradients, so only their inner products are needed; what each gradient counts
    with in it is its weight.

    Args:
        seed: of the random order.
    """

    weights: Tensor
    step: Tensor

    def __init__(self, tasks: Sequence[Task], *, seed: int = 0) -> None:
        super().__init__()
        self.seed = seed
        self.register_buffer("weights", torch.ones(len(tasks)))
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    def backward(self, losses: Sequence[Tensor], shared: Shared) -> None:
        grads = shared.gradients(losses)
        products = torch.stack([torch.stack([dot(a, b).to(losses[0]) for b in grads]) for a in grads])
        self.weights = self._weights(products.double().cpu()).to(losses[0])
        self.step += 1
        weights = self.weights.unbind()
        shared.leave([weighted_sum(of_tasks, weights) for of_tasks in zip(*grads, strict=True)])

    def _weights(self, products: Tensor) -> Tensor:
        """(T,) from the inner products (T, T) of the gradients."""
        n_tasks = len(products)
        parts = torch.eye(n_tasks, dtype=products.dtype)  # row i: task i's projected gradient, in terms of all
        chance = random.Random(f"{self.seed} {int(self.step)}")
        for i in range(n_tasks):
            for j in chance.sample(range(n_tasks), n_tasks):
                inner = parts[i] @ products[:, j]
                if j != i and inner < 0:
                    parts[i, j] -= inner / products[j, j]
        return parts.sum(0)

    def after_step(self) -> None:
        """Nothing is learnt."""

    def epoch_end(self, losses: Tensor) -> None:
        """Nothing is learnt."""
