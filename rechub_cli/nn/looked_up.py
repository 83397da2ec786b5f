"""Linear layers over looked-up rows of which a batch has few distinct ones.

A layer's product with F concatenated rows of width E is a sum of F products, one for each row with its own columns of
the weight. Where a field's rows recur in a batch, one product for each distinct row and one addition for each
occurrence cost a fraction of the dense product, forwards and backwards. The other fields take the dense product. The
numbers are those of one dense product to within rounding.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from rechub_cli.kernels import loops
from rechub_cli.nn.product import linear
from rechub_cli.nn.rows import Recurring
from rechub_cli.nn.table import autocasts_to_bf16


class LookedUp:
    """The input (B, F * E) of linear layers, which is never made.

    Args:
        recurring: the fields whose rows recur.
        rows: (U, E), their distinct rows.
        others: (B, (F - K) * E), the other fields side by side.
    """

    def __init__(self, recurring: Recurring, rows: Tensor, others: Tensor) -> None:
        self.recurring, self.rows, self.others = recurring, rows, others

    def dim(self) -> int:
        return 2

    def float(self) -> LookedUp:
        return LookedUp(self.recurring, self.rows, self.others.float())

    def linear(self, weight: Tensor, bias: Tensor | None, dense: Tensor) -> Tensor:
        """``F.linear`` of its columns and those of ``dense`` (B, D), which gets no gradient.

        (B, outputs), bfloat16 under such an autocast.
        """
        out: Tensor = _Linear.apply(self.rows, self.others, weight, bias, self.recurring, dense.contiguous())
        return out


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        rows: Tensor,
        others: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        recurring: Recurring,
        dense: Tensor,
    ) -> Tensor:
        dtype = torch.bfloat16 if autocasts_to_bf16() else torch.float32
        weight = weight.contiguous()
        rest, mixed = None, recurring.others.numel() > 0
        if mixed:
            others = others.to(dtype)
            rest = _by_field(weight, recurring, rows.shape[1])[:, recurring.others].flatten(1).to(dtype)
            out = linear(others, rest)
        else:
            out = torch.empty(len(dense), len(weight), dtype=dtype)
        turned = loops.looked_up_linear(recurring, rows, dense, weight, bias, None, out, add=mixed)
        ctx.save_for_backward(rows, others, weight, rest, dense, turned)
        ctx.recurring, ctx.bias = recurring, bias is not None
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        rows, others, weight, rest, dense, turned = ctx.saved_tensors
        recurring, grad = ctx.recurring, grad.contiguous()
        of_rows, of_weight = torch.zeros_like(rows), torch.empty_like(weight)
        of_bias = weight.new_empty(len(weight)) if ctx.bias else None
        loops.looked_up_linear(recurring, rows, dense, weight, None, turned, grad, of_rows, of_weight, of_bias)
        if rest is None:
            return of_rows, None, of_weight, of_bias, None, None
        of_rest = (grad.t() @ others).to(of_weight.dtype)
        _by_field(of_weight, recurring, rows.shape[1])[:, recurring.others] = of_rest.unflatten(1, (-1, rows.shape[1]))
        return of_rows, linear(grad, rest.t()), of_weight, of_bias, None, None


def _by_field(weight: Tensor, recurring: Recurring, width: int) -> Tensor:
    """(outputs, F, E): the columns of the fields, a view."""
    fields = recurring.place.numel()
    return weight[:, : fields * width].unflatten(1, (fields, width))
