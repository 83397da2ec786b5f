"""Adam and AdamW for dense parameters: torch's, by the shortest way to its kernel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from rechub_cli.kernels.loops import count_steps
from rechub_cli.optim.uncompiled import Uncompiled

OPTIONS = {"lr", "betas", "eps", "weight_decay"}


class Adam(Uncompiled, torch.optim.Adam):
    """Kingma and Ba, 2015, https://arxiv.org/abs/1412.6980

    The numbers and the state of ``torch.optim.Adam(fused=True)``, whose step takes as long to get to its kernel as the
    kernel takes for a small model. Options: ``lr``, ``betas``, ``eps``, ``weight_decay``.
    """

    def _update_all(self, weights: Sequence[Tensor], options: dict[str, Any]) -> None:
        _update(weights, [self._moments(weight) for weight in weights], options)

    def _moments(self, weight: Tensor) -> dict[str, Tensor]:
        state: dict[str, Tensor] = self.state[weight]
        if not state:
            state["step"] = torch.zeros((), device=weight.device)
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(weight), torch.zeros_like(weight)
        return state


class AdamW(Adam):
    """Adam with decoupled weight decay, Loshchilov and Hutter, ICLR 2019, https://arxiv.org/abs/1711.05101"""

    def __init__(self, params: Any, weight_decay: float = 1e-2, **options: Any) -> None:
        super().__init__(params, weight_decay=weight_decay, decoupled_weight_decay=True, **options)


def _update(weights: Sequence[Tensor], states: list[dict[str, Tensor]], group: Mapping[str, Any]) -> None:
    kernel = torch._fused_adamw_ if group["decoupled_weight_decay"] else torch._fused_adam_
    beta1, beta2 = group["betas"]
    steps = [state["step"] for state in states]
    count_steps(steps)
    kernel(
        list(weights),
        [weight.grad for weight in weights if weight.grad is not None],
        [state["exp_avg"] for state in states],
        [state["exp_avg_sq"] for state in states],
        [],
        steps,
        lr=group["lr"],
        beta1=beta1,
        beta2=beta2,
        weight_decay=group["weight_decay"],
        eps=group["eps"],
        amsgrad=False,
        maximize=False,
    )
