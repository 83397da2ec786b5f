"""Linear layers of few outputs, such as logits: their input goes through memory once each way.

They are float32 whatever the input: a bfloat16 input is read as it is, and its gradient rounded once.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from rechub_cli.kernels import loops, narrow


def narrow_linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor | None:
    """float32 (B, outputs): ``F.linear`` of x (B, inputs), float32 or bfloat16; None where torch has to make it."""
    if x.dim() != 2 or len(weight) > narrow.FEW or not loops.usable(x, weight):
        return None
    if x.shape[1] != weight.shape[1]:
        return None  # torch tells
    if x.dtype not in (torch.float32, torch.bfloat16) or weight.dtype != torch.float32:
        return None
    out: Tensor = _Narrow.apply(x, weight, bias)
    return out


class _Narrow(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return narrow.forward(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        of_x, of_weight = narrow.gradients(x, weight, grad.contiguous(), ctx.needs_input_grad[0])
        return of_x, of_weight, grad.sum(0) if ctx.needs_input_grad[2] else None
