"""Dropout at a fraction of the usual cost on a CPU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from rechub_cli.kernels import dropout, loops


class Dropout(nn.Dropout):
    """nn.Dropout that draws one random byte for each value, not one random double.

    On a CPU, torch's own draws value by value on one thread, which costs more than the matrix products around it. The
    bytes are a function of one number, drawn from torch's generator, and of the value's place. The share that is
    dropped is therefore a whole number of 256ths, the nearest to ``p``; what is kept is scaled by that very share.
    Other devices use torch's.
    """

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or self.p == 0 or input.device.type != "cpu":
            return super().forward(input)
        dropped = min(max(round(self.p * 256), 1), 255)
        seed = int(torch.empty((), dtype=torch.int64).random_(-(2**63), None))
        if input.dtype in (torch.float32, torch.bfloat16) and loops.library() is not None:
            compiled: Tensor = _Dropped.apply(input, seed, dropped)
            return compiled
        return input * (_bytes(input.shape, seed) >= dropped) * (256 / (256 - dropped))


def _bytes(shape: torch.Size, seed: int) -> Tensor:
    """uint8: those of ``kernels/dropout.c``."""
    words = torch.arange(-(-shape.numel() // 8)) + seed + (0x9E3779B97F4A7C15 - 2**64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9 - 2**64), (27, 0x94D049BB133111EB - 2**64), (31, 1)):
        words = (words ^ ((words >> shift) & (2 ** (64 - shift) - 1))) * factor
    return words.view(torch.uint8)[: shape.numel()].view(shape)


class _Dropped(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, input: Tensor, seed: int, dropped: int) -> Tensor:
        ctx.seed, ctx.dropped = seed, dropped
        return dropout.drop(input.contiguous(), seed, dropped)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return _Dropped.apply(grad, ctx.seed, ctx.dropped), None, None
