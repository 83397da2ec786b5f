"""``F.linear`` by whichever library multiplies quicker."""

from __future__ import annotations

import functools
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

WIDE, MANY = 64, 2048  # inputs and outputs, and rows, from which a product takes far longer than its preparation


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``F.linear`` of x (B, inputs), the same to within rounding.

    On CPUs large float32 products are oneDNN's where torch has it: MKL, which torch calls, loses up to half of its
    speed where a width is odd, as it is beside 13 numbers, and a tenth on one thread.
    """
    if not _by_onednn(x, weight):
        return F.linear(x, weight, bias)
    if torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad):
        out: Tensor = _Linear.apply(x, weight, bias)
        return out
    return product(x, weight, bias)


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``linear`` of float32 CPU tensors, without a gradient.

    They must be contiguous: for others oneDNN has a loop a thousand times as slow.
    """
    out: Tensor = torch.ops.mkldnn._linear_pointwise(x.contiguous(), weight.contiguous(), bias, "none", [], "")
    return out


def _by_onednn(x: Tensor, weight: Tensor) -> bool:
    return (
        x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and x.dim() == 2
        and min(weight.shape) >= WIDE
        and len(x) >= MANY
        and x.is_contiguous()
        and not torch.is_autocast_enabled("cpu")
        and _has_onednn()
    )


@functools.cache
def _has_onednn() -> bool:
    """Whether this torch can be asked for a product of oneDNN's."""
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.bias = bias is not None
        return product(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        of_x = product(grad, weight.t()) if ctx.needs_input_grad[0] else None
        of_weight = grad.t() @ x if ctx.needs_input_grad[1] else None
        return of_x, of_weight, grad.sum(0) if ctx.bias and ctx.needs_input_grad[2] else None
