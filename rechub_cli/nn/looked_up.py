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
from rechub_cli.nn.product import add_product, linear
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
        mine, rest = _split(weight, recurring, rows.shape[1])
        out = torch.empty(len(dense), len(weight), dtype=dtype)
        turned = loops.looked_up_linear(recurring, rows, dense, mine, bias, None, out)
        if rest is not None:
            others, rest = others.to(dtype), rest.to(dtype)
            add_product(out, others, rest)
        ctx.save_for_backward(rows, others, mine, rest, dense, turned)
        ctx.recurring, ctx.bias = recurring, bias is not None
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        rows, others, mine, rest, dense, turned = ctx.saved_tensors
        grad = grad.contiguous()
        of_rows, of_mine = torch.zeros_like(rows), torch.empty_like(mine)
        of_bias = mine.new_empty(len(mine)) if ctx.bias else None
        loops.looked_up_linear(ctx.recurring, rows, dense, mine, None, turned, grad, of_rows, of_mine, of_bias)
        if rest is None:
            return of_rows, None, of_mine, of_bias, None, None
        of_weight = _join(of_mine, grad.t() @ others, ctx.recurring, rows.shape[1])
        return of_rows, linear(grad, rest.t()), of_weight, of_bias, None, None


def _split(weight: Tensor, recurring: Recurring, width: int) -> tuple[Tensor, Tensor | None]:
    """The columns of the fields whose rows recur, then those of the numbers; and those of the other fields."""
    fields = recurring.place.numel()
    if len(recurring.fields) == fields:
        return weight, None
    by_field = weight[:, : fields * width].unflatten(1, (fields, width))
    few = recurring.place < 0
    mine = torch.cat([by_field[:, few].flatten(1), weight[:, fields * width :]], dim=1)
    return mine, by_field[:, ~few].flatten(1)


def _join(mine: Tensor, rest: Tensor, recurring: Recurring, width: int) -> Tensor:
    """The inverse of ``_split``."""
    fields, few = recurring.place.numel(), recurring.place < 0
    own = len(recurring.fields) * width
    weight = mine.new_empty(len(mine), mine.shape[1] + rest.shape[1])
    by_field = weight[:, : fields * width].unflatten(1, (fields, width))
    by_field[:, few] = mine[:, :own].unflatten(1, (-1, width))
    by_field[:, ~few] = rest.to(mine.dtype).unflatten(1, (-1, width))
    weight[:, fields * width :] = mine[:, own:]
    return weight
