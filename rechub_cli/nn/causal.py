"""Causal self-attention over jagged histories; compiled into one pass where there are loops for it.

Shape legend: B rows, N events of them all, E the width of an event, L the longest row.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from rechub_cli.kernels import causal, loops


class Causal:
    """N events in rows, each of which sees itself and those before it.

    Attributes:
        lengths: int64 (B,): events of each row.
        rows: int64 (N,): the row of each event.
        order: int64 (N,): how many events of its row are before it.
    """

    def __init__(self, offsets: Tensor, n: int) -> None:
        self.offsets, self.lengths = offsets, offsets.diff()
        self.rows = torch.repeat_interleave(self.lengths, output_size=n)
        self.order = torch.arange(n, device=offsets.device) - offsets[self.rows]

    @cached_property
    def longest(self) -> int:
        return max(1, int(self.lengths.max())) if len(self.lengths) else 1

    @cached_property
    def places(self) -> Tensor:
        """int64 (N,): of the events in a grid of (B, L)."""
        return self.rows * self.longest + self.order

    def attend(self, packed: Tensor, n_heads: int) -> Tensor:
        """The values that each event's query finds: (N, 3E) queries, keys and values -> (N, E)."""
        if packed.dtype == torch.float32 and self.offsets.dtype == torch.int64 and loops.usable(packed, self.offsets):
            compiled: Tensor = _Attention.apply(packed, self.offsets, n_heads)
            return compiled
        size, width = len(self.lengths) * self.longest, packed.shape[1] // 3

        def padded(values: Tensor) -> Tensor:  # (N, E) -> (B, heads, L, E / heads)
            filled = values.new_zeros(size, width).index_copy(0, self.places, values)
            return filled.view(len(self.lengths), self.longest, n_heads, width // n_heads).transpose(1, 2)

        queries, keys, values = map(padded, packed.chunk(3, dim=1))
        with torch.autocast(packed.device.type, enabled=False):
            mixed = F.scaled_dot_product_attention(queries, keys, values, is_causal=True)
        return mixed.transpose(1, 2).reshape(size, width)[self.places]


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, packed: Tensor, offsets: Tensor, n_heads: int) -> Tensor:
        ctx.save_for_backward(packed, offsets)
        ctx.n_heads = n_heads
        return causal.forward(offsets, packed, n_heads)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        packed, offsets = ctx.saved_tensors
        return causal.gradients(offsets, packed, ctx.n_heads, grad.contiguous()), None, None
