"""Batch normalisation that a batch of any size survives."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn


class BatchNorm(nn.BatchNorm1d):
    """BatchNorm1d that uses its running statistics where a training batch has no variance to offer.

    torch raises an error for a batch of one row; here the row is normalised as in evaluation and
    the statistics stay as they are. With ``relu`` a ReLU follows, in the norm's own output.
    Shape: (B, C) -> (B, C), any B.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, num_features: int, *, relu: bool = False, **options: Any) -> None:
        super().__init__(num_features, **options)
        self.relu = relu

    def scale_and_shift(self) -> tuple[Tensor, Tensor]:
        """What evaluation does to a value: ``x * scale + shift``, both (C,)."""
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        return scale, self.bias - self.running_mean * scale

    def forward(self, input: Tensor) -> Tensor:
        if self.training and input.shape[0] < 2:
            values = F.batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        else:
            values = super().forward(input)
        return values.relu_() if self.relu else values
