"""MetaBalance: gradients of auxiliary tasks get the size of the target task's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from rechub_cli.errors import SpecError
from rechub_cli.optim.gradients import lengths, weighted_sum
from rechub_cli.optim.shared import Shared
from rechub_cli.schema import Task


class MetaBalance(nn.Module):
    """Balanced gradients (He et al., WWW 2022, https://arxiv.org/abs/2203.06801).

    For every shared parameter and every task the moving mean m of the gradient's length is kept. An auxiliary task's
    gradient is multiplied by ``relax_factor * m_target / m + (1 - relax_factor)``, and all are added. Parameters that
    are not shared get the plain sum. Each task costs a backward pass of its own.

    DIFF: a task whose gradient is 0 in a batch, for want of labels, leaves its mean as it is (the released code divides
    by it), and the means are corrected for their start at 0, so that a task which appears late is judged by the same
    measure. Where all tasks are always there, neither changes anything.

    Args:
        target: the task that is not changed, by place or name; a trainer gives the one that tells the best weights.
        relax_factor: 0: gradients stay as they are; 1: all get the length of the target's.
        beta: decay of the moving mean.
        strategy: which gradients are changed: ``both``, those longer than the target's (``reduce``), or the shorter
            (``enlarge``).

    Raises:
        SpecError: there is no such target, or a value is outside 0..1.
    """

    weights: Tensor  # the mean factor over parameters
    means: Tensor  # (T, parameters)
    steps: Tensor

    def __init__(
        self,
        tasks: Sequence[Task],
        *,
        target: int | str = 0,
        relax_factor: float = 0.7,
        beta: float = 0.9,
        strategy: Literal["both", "reduce", "enlarge"] = "both",
    ) -> None:
        super().__init__()
        names = [task.name for task in tasks]
        if isinstance(target, str) and target in names:
            target = names.index(target)
        if not isinstance(target, int) or not 0 <= target < len(tasks):
            raise SpecError(f"metabalance: target {target!r} is not a label; the labels are {', '.join(names)}")
        if not (0 <= relax_factor <= 1 and 0 <= beta < 1):
            raise SpecError("metabalance: relax_factor must be from 0 to 1, and beta from 0 to below 1")
        self.target, self.relax_factor, self.beta, self.strategy = target, relax_factor, beta, strategy
        self.register_buffer("weights", torch.ones(len(tasks)))
        self.register_buffer("means", torch.zeros(len(tasks), 0))
        self.register_buffer("steps", torch.zeros(len(tasks), 0))  # at which there was a gradient

    def backward(self, losses: Sequence[Tensor], shared: Shared) -> None:
        grads = shared.gradients(losses)
        factors = self._factors(torch.stack([lengths(of_task).to(losses[0]) for of_task in grads]))
        self.weights = factors.mean(1)
        shared.leave(
            [weighted_sum(of_tasks, factors[:, i].unbind()) for i, of_tasks in enumerate(zip(*grads, strict=True))]
        )

    def _factors(self, now: Tensor) -> Tensor:
        """(T, parameters): what each gradient is multiplied by."""
        if self.means.shape != now.shape:
            self.means, self.steps = torch.zeros_like(now), torch.zeros_like(now)
        there = now > 0
        self.means = torch.where(there, self.beta * self.means + (1 - self.beta) * now, self.means)
        self.steps = self.steps + there
        means = self.means / (1 - self.beta**self.steps).clamp(min=1e-12)
        own, target = means, means[self.target]
        changed = there & (own > 0) & (target > 0)
        if self.strategy == "reduce":
            changed &= own > target
        elif self.strategy == "enlarge":
            changed &= own < target
        factors = self.relax_factor * target / own.where(changed, 1.0) + (1 - self.relax_factor)
        factors = torch.where(changed, factors, 1.0)
        factors[self.target] = 1.0
        return factors

    def after_step(self) -> None:
        """Nothing is learnt."""

    def epoch_end(self, losses: Tensor) -> None:
        """Nothing is learnt."""

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """The number of parameters is known only to the state."""
        for name in ("means", "steps"):
            setattr(self, name, torch.zeros_like(state_dict[name], device=self.weights.device))
        return super().load_state_dict(state_dict, strict, assign)
