"""Every value of a jagged history beside the target of its row; compiled into one pass where there are loops for it.

Shape legend: B rows, N values of them all, E the width of a value, H units.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from rechub_cli.batch import Jagged
from rechub_cli.kernels import attention, loops
from rechub_cli.nn.table import autocasts_to_bf16


class Pairs:
    """The values of a history (N, E), each with the target (B, E) of its row.

    Raises: ValueError where there is not one target, of the width of a value, for each row.
    """

    def __init__(self, target: Tensor, history: Jagged) -> None:
        if target.shape != (len(history), history.values.shape[1]):
            raise ValueError(f"targets {tuple(target.shape)} are not one for each of {len(history)} rows")
        self.target, self.history = target, history

    @cached_property
    def rows(self) -> Tensor:
        return self.history.rows

    @cached_property
    def mask(self) -> Tensor | None:
        return self.history.mask

    def linear(self, by_row: Tensor, weight: Tensor) -> Tensor:
        """``[value, target * value] @ weight + by_row`` for every value, with the target and the sum of its row.

        Shape: by_row (B, H), weight (2, E, H) -> (N, H), bfloat16 under such an autocast.
        """
        values, target = self.history.values, self.target
        if attention.fits(*weight.shape[1:]) and self._is_compiled(target, weight):
            near = (target.contiguous(), by_row.float().contiguous(), weight.contiguous())
            compiled: Tensor = _PairLinear.apply(values, *near, self.history.offsets)
            return compiled
        pair = torch.cat([values, target.index_select(0, self.rows) * values], dim=1)  # (N, 2E)
        return F.linear(pair, weight.flatten(0, 1).t()) + by_row.index_select(0, self.rows)

    def weighted_sum(self, weights: Tensor) -> Tensor:
        """The sum of each row's values, each times its weight.

        Shape: weights (N, 1), float32 -> (B, E).
        """
        values = self.history.values
        if self._is_compiled(weights):
            compiled: Tensor = _WeightedSum.apply(values, weights.contiguous(), self.history.offsets)
            return compiled
        if self.mask is not None:
            weights = weights * self.mask[:, None]
        return torch.zeros_like(self.target).index_add_(0, self.rows, weights * values)

    def _is_compiled(self, *others: Tensor) -> bool:
        history = self.history
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


class _WeightedSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, weights: Tensor, offsets: Tensor) -> Tensor:
        ctx.save_for_backward(values, weights, offsets)
        return attention.weighted_sums(offsets, values, weights)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        values, weights, offsets = ctx.saved_tensors
        return *attention.weighted_gradients(offsets, values, weights, grad.contiguous()), None
