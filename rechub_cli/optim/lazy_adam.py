"""Adam for embedding tables: only the rows of the batch are touched."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from rechub_cli.nn.rows import sparse_rows


class LazyAdam(torch.optim.Optimizer):
    """Adam (Kingma and Ba, 2015, https://arxiv.org/abs/1412.6980) on the rows that have a gradient.

    DIFF: rows without a gradient keep their value and their moments, so a step costs as much as the batch has
    distinct rows, however large the table is. Bias is corrected by the number of all steps, as in
    ``torch.optim.SparseAdam``. Where all rows have a gradient at every step, this is Adam.

    Gradients are sparse (V, E), best with distinct rows in rising order; dense ones get plain Adam.

    Args:
        params: parameters, or groups of them.
        lr: step size.
        betas: decay of the mean gradient and of the mean squared gradient.
        eps: keeps the division finite.
        weight_decay: adds ``weight_decay * row`` to the gradient of a touched row.
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update every row that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for options in self.param_groups:
            for weight in options["params"]:
                if weight.grad is not None:
                    self._update(weight, weight.grad, options)
        return loss

    def _update(self, weight: Tensor, grad: Tensor, options: dict[str, Any]) -> None:
        state = self.state[weight]
        if not state:
            state["step"] = torch.tensor(0.0)
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(weight), torch.zeros_like(weight)
        state["step"] += 1
        mean, square, step = state["exp_avg"], state["exp_avg_sq"], float(state["step"])
        if not grad.is_sparse:
            _adam(weight, grad, mean, square, step, options)
            return
        rows, grad = sparse_rows(grad)
        if not rows.numel():
            return
        parts = [F.embedding(rows, whole) for whole in (weight, mean, square)]
        _adam(parts[0], grad, parts[1], parts[2], step, options)
        for whole, part in zip((weight, mean, square), parts, strict=True):
            whole.index_copy_(0, rows, part)


def _adam(weight: Tensor, grad: Tensor, mean: Tensor, square: Tensor, step: float, options: dict[str, Any]) -> None:
    """One step of Adam in place."""
    beta1, beta2 = options["betas"]
    if options["weight_decay"]:
        grad = grad.add(weight, alpha=options["weight_decay"])
    mean.lerp_(grad, 1 - beta1)
    square.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
    spread = square.sqrt().div_((1 - beta2**step) ** 0.5).add_(options["eps"])
    weight.addcdiv_(mean, spread, value=-options["lr"] / (1 - beta1**step))
