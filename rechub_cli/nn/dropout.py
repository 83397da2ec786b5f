"""Dropout at a fifth of the usual cost on a CPU."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Dropout(nn.Dropout):
    """nn.Dropout that draws one random byte for each value, not one random double.

    On a CPU, torch's own draws value by value on one thread, which costs more than the matrix products around
    it (4096 x 256: 8.7 ms against 1.9). The share that is dropped is therefore a whole number of
    256ths, the nearest to ``p``; what is kept is scaled by that very share. Other devices use torch's.
    """

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or self.p == 0 or input.device.type != "cpu":
            return super().forward(input)
        dropped = min(max(round(self.p * 256), 1), 255)
        words = torch.empty(-(-input.numel() // 8), dtype=torch.int64).random_(-(2**63), None)
        random = words.view(torch.uint8)[: input.numel()].view(input.shape)
        return input * (random >= dropped).to(input.dtype).mul_(256 / (256 - dropped))
