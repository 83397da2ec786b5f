"""Batch normalisation that a batch of any size survives."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class BatchNorm(nn.BatchNorm1d):
    """BatchNorm1d that uses its running statistics where a training batch has no variance to offer.

    torch raises an error for a batch of one row; here the row is normalised as in evaluation and
    the statistics stay as they are. With ``relu`` a ReLU follows, in the norm's own output.
    Shape: (B, C) -> (B, C), any B. ``mask``, bool (B,): the rows that have a say in the statistics.
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

    def forward(self, input: Tensor, mask: Tensor | None = None) -> Tensor:
        if self.training and mask is not None:
            values = self._normed(input, mask)
        elif self.training and input.shape[0] < 2:
            values = F.batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        else:
            values = super().forward(input)
        return values.relu_() if self.relu else values

    def _normed(self, input: Tensor, mask: Tensor) -> Tensor:
        """As in training, by the statistics of the rows in the mask; the host need not know how many there are."""
        values, inside, n = input.float(), mask[:, None], mask.sum()
        enough, some = n > 1, n.clamp(min=1)
        mean = values.where(inside, 0.0).sum(0) / some
        variance = (values - mean).square().where(inside, 0.0).sum(0) / some
        mean, variance = mean.where(enough, self.running_mean), variance.where(enough, self.running_var)
        with torch.no_grad():
            step = enough * (self.momentum or 0.0)
            unbiased = variance * (n / (n - 1).clamp(min=1))
            self.running_mean.lerp_(mean, step)
            self.running_var.lerp_(unbiased, step)
            if self.num_batches_tracked is not None:
                self.num_batches_tracked.add_(enough)
        values = (values - mean) * (variance + self.eps).rsqrt()
        if self.affine:
            values = torch.addcmul(self.bias, values, self.weight)
        return values.to(input.dtype)
