"""Squeeze and excitation over the fields of a row."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rechub_cli.nn.linear import ConcatLinear


class SENet(nn.Module):
    """Each field of a row weighed by how much the whole row makes it matter.

    Huang et al., "FiBiNET", RecSys 2019, https://arxiv.org/abs/1905.09433, section 3.2: the mean of each field, two
    small layers, one weight for each field.
    DIFF: a leaky ReLU, and weights of 2 * sigmoid: fields start near weight 1 and none can die, where the paper's two
    ReLUs may put one to zero for good. Fields may have different widths.
    Shape: (B, sum(dims)) -> (B, sum(dims)).
    """

    membership: Tensor  # (sum(dims), F): 1 / width where a value belongs to a field

    def __init__(self, dims: Sequence[int], reduction: int) -> None:
        super().__init__()
        fields, widths = len(dims), torch.tensor(dims)
        membership = torch.repeat_interleave(torch.eye(fields), widths, dim=0)
        self.register_buffer("membership", membership, persistent=False)
        self.register_buffer("widths", widths, persistent=False)
        self.widths: Tensor
        middle = max(1, fields // reduction)
        self.squeeze, self.excite = ConcatLinear(fields, middle), ConcatLinear(middle, fields)

    def forward(self, flat: Tensor) -> Tensor:
        means = flat @ (self.membership / self.widths)
        weights = 2 * torch.sigmoid(self.excite(F.leaky_relu(self.squeeze(means))))  # (B, F)
        return flat * (weights @ self.membership.t().to(weights.dtype)).to(flat.dtype)
