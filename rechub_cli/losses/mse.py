"""Squared error."""

from __future__ import annotations

from torch import Tensor


def mse(logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean squared error over the labels that are known; 0 where none is.

    Args:
        logits: (B, T), the predictions as they stand.
        labels: (B, T); NaN masks a label.
        weights: (B,) not negative; the loss is divided by their sum, so their scale does not matter.
    """
    known = labels.isnan().logical_not_()
    weight = known.float()
    if weights is not None:
        weight = weight * weights[:, None]
    error = logits.float() - labels.where(known, logits.detach().float())
    return (weight * error * error).sum() / weight.sum().clamp_min(1e-12)
