"""Every value of a jagged history beside the target of its row; compiled into one pass where there are loops for it.

Shape legend: B rows, N values of them all, E the width of a value, H units.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from rechub_cli.batch import Jagged
from rechub_cli.kernels import attention, loops
from rechub_cli.nn.table import autocasts_to_bf16


def pair_linear(target: Tensor, history: Jagged, by_row: Tensor, weight: Tensor) -> Tensor:
    """``[value, target * value] @ weight + by_row`` for every value, with the target and the sum of its row.

    Shape: target (B, E), history of (N, E), by_row (B, H), weight (2, E, H) -> (N, H), bfloat16 under such an autocast.
    """
    values = history.values
    if attention.fits(*weight.shape[1:]) and _is_compiled(history, target, weight):
        near = (target.contiguous(), by_row.float().contiguous(), weight.contiguous())
        compiled: Tensor = _PairLinear.apply(values, *near, history.offsets)
        return compiled
    rows = history.rows
    pair = torch.cat([values, target.index_select(0, rows) * values], dim=1)  # (N, 2E)
    return F.linear(pair, weight.flatten(0, 1).t()) + by_row.index_select(0, rows)


def weighed_sum(history: Jagged, weights: Tensor) -> Tensor:
    """The sum of each row's values, each times its weight.

    Shape: history of (N, E), weights (N, 1), float32 -> (B, E).
    """
    values, mask = history.values, history.mask
    if _is_compiled(history, weights):
        compiled: Tensor = _WeighedSum.apply(values, weights.contiguous(), history.offsets)
        return compiled
    if mask is not None:
        weights = weights * mask[:, None]
    return values.new_zeros(len(history), values.shape[1]).index_add_(0, history.rows, weights * values)


def _is_compiled(history: Jagged, *others: Tensor) -> bool:
    if history.filled or history.offsets.dtype != torch.int64:
        return False
    if any(tensor.dtype != torch.float32 or not tensor.is_cpu for tensor in (history.values, *others)):
        return False
    return loops.usable(history.values, history.offsets) is not None


class _PairLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, target: Tensor, by_row: Tensor, weight: Tensor, offsets: Tensor) -> Tensor:
        ctx.save_for_backward(values, target, weight, offsets)
        return attention.forward(offsets, values, target, by_row, weight, half=autocasts_to_bf16())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        values, target, weight, offsets = ctx.saved_tensors
        return *attention.gradients(offsets, values, target, weight, grad.contiguous()), None


class _WeighedSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, weights: Tensor, offsets: Tensor) -> Tensor:
        ctx.save_for_backward(values, weights, offsets)
        return attention.weighed_sums(offsets, values, weights)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        values, weights, offsets = ctx.saved_tensors
        return *attention.weighed_gradients(offsets, values, weights, grad.contiguous()), None
