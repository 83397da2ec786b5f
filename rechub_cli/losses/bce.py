"""Binary cross-entropy of logits."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def bce(logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean binary cross-entropy over the labels that are known; 0 where none is.

    Args:
        logits: (B, T), before the sigmoid.
        labels: (B, T) in [0, 1]; NaN masks a label.
        weights: (B,) not negative; the loss is divided by their sum, so their scale does not matter.
    """
    logits = logits.float()
    if weights is None and _all_known(labels):
        return F.binary_cross_entropy_with_logits(logits, labels)
    weight = labels.isnan().logical_not_().float()
    if weights is not None:
        weight = weight * weights[:, None]
    total = F.binary_cross_entropy_with_logits(logits, labels.nan_to_num(0.0), weight, reduction="sum")
    return total / weight.sum().clamp_min(1e-12)


def _all_known(labels: Tensor) -> bool:
    """Whether a batch is sure to need no mask; not asked of a GPU, which the host would wait for."""
    return labels.device.type == "cpu" and labels.numel() > 0 and not labels.isnan().any()
