"""A linear layer over looked-up rows, where a batch has few distinct ones.

A layer's product with F concatenated rows of width E is a sum of F products, one for each row with its own columns of
the weight. A batch of B rows repeats its ids: where its U distinct rows are far fewer than the B x F occurrences, U
products and B x F additions cost a fraction of the dense product, forwards and backwards. The numbers are those of the
dense product to within rounding.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from rechub_cli.kernels import loops
from rechub_cli.nn.table import EmbeddingTable, Request, autocasts_to_bf16, table_grad

WORTH = 4  # occurrences of each distinct row from which this is the quicker way


class LookedUp:
    """The input (B, F * E + D) of linear layers, which is never made: the rows that a request asks for, and numbers.

    Args:
        table: (V, E), on the CPU.
        request: one id for each of F fields whose rows lie one field after the other.
        starts: int64 (F,), the first row of each field, rising.
        dense: (B, D), which gets no gradient.
    """

    def __init__(self, table: EmbeddingTable, request: Request, starts: Tensor, dense: Tensor) -> None:
        self.table, self.dense = table, dense.contiguous()
        self.grouped, _, _ = request.grouped()
        self.size, self.fields = request.ids.shape
        grouped = self.grouped
        self.slot, self.at, self.first = loops.place_rows(grouped.rows, grouped.order, grouped.starts, starts)

    @staticmethod
    def pays(table: EmbeddingTable, request: Request, dense: Tensor) -> bool:
        """Whether the layers over this batch are quicker this way."""
        if not request.plain or dense.requires_grad:
            return False
        if loops.usable(table.weight, request.ids) is None or table.weight.dtype != torch.float32:
            return False
        grouped, _, _ = request.grouped()
        return 0 < WORTH * grouped.rows.numel() <= request.ids.numel()

    def dim(self) -> int:
        return 2

    def linear(self, weight: Tensor, bias: Tensor | None) -> Tensor:
        """``F.linear`` of it: (B, outputs), bfloat16 under such an autocast."""
        out: Tensor = _Linear.apply(self.table.weight, weight, bias, self)
        return out


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor, bias: Tensor | None, looked_up: LookedUp) -> Tensor:
        dtype = torch.bfloat16 if autocasts_to_bf16() else torch.float32
        out = torch.empty(looked_up.size, weight.shape[0], dtype=dtype)
        ctx.save_for_backward(rows, weight, loops.looked_up_linear(looked_up, rows, weight, bias, None, out))
        ctx.looked_up, ctx.bias = looked_up, bias is not None
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        rows, weight, turned = ctx.saved_tensors
        looked_up, grad = ctx.looked_up, grad.contiguous()
        values = rows.new_zeros(looked_up.grouped.rows.numel(), rows.shape[1])
        weight_grad = torch.empty_like(weight)
        bias_grad = weight.new_empty(len(weight)) if ctx.bias else None
        loops.looked_up_linear(looked_up, rows, weight, None, turned, grad, values, weight_grad, bias_grad)
        return table_grad(looked_up.table, looked_up.grouped.rows, values), weight_grad, bias_grad, None
