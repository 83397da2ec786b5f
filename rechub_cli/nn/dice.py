"""Dice, the activation of DIN, in few passes over memory where there are compiled loops."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from rechub_cli.kernels import dice, loops
from rechub_cli.nn.norm import BatchNorm


class Dice(nn.Module):
    """``x`` where the input is likely, ``alpha * x`` where it is not; the batch says what is likely.

    Zhou et al., KDD 2018, https://arxiv.org/abs/1706.06978, section 5.3.
    Shape: (B, C) -> (B, C). ``mask``, bool (B,): the rows that have a say in what is likely.
    """

    def __init__(self, dim: int, *, eps: float = 1e-8) -> None:
        super().__init__()
        self.norm = BatchNorm(dim, eps=eps, affine=False)
        self.alpha = nn.Parameter(torch.zeros(dim))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        if mask is None and self._is_compiled(x):
            compiled: Tensor = _Dice.apply(x, self.alpha, self.norm, self.training and len(x) > 1)
            return compiled
        likely = torch.sigmoid(self.norm(x, mask))
        alpha = self.alpha.to(likely.dtype)  # else bf16 would be widened
        return x * torch.addcmul(alpha, 1 - alpha, likely)

    def _is_compiled(self, x: Tensor) -> bool:
        if x.dim() != 2 or x.dtype not in (torch.float32, torch.bfloat16):
            return False
        return (
            x.shape[1:] == self.alpha.shape
            and self.alpha.dtype == torch.float32
            and loops.usable(x, self.alpha) is not None
        )


class _Dice(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, alpha: Tensor, norm: BatchNorm, of_batch: bool) -> Tensor:
        if of_batch:
            mean, scale = dice.statistics(
                x, norm.running_mean, norm.running_var, eps=norm.eps, momentum=norm.momentum or 0.0
            )
            if norm.num_batches_tracked is not None:
                norm.num_batches_tracked.add_(1)
        else:
            mean, scale = norm.running_mean.clone(), (norm.running_var + norm.eps).rsqrt()
        ctx.save_for_backward(x, alpha, mean, scale)
        ctx.of_batch = of_batch
        return dice.forward(x, mean, scale, alpha)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, alpha, mean, scale = ctx.saved_tensors
        of_x, of_alpha = dice.gradients(x, mean, scale, alpha, grad.contiguous(), settled=not ctx.of_batch)
        return of_x, of_alpha, None, None
