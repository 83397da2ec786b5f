"""Normalised entropy."""

from __future__ import annotations

import numpy as np


class NormalizedEntropy:
    """Log loss divided by that of always predicting the average label: below 1 is better than knowing nothing.

    NaN where the labels have one class only.

    He et al., Practical Lessons from Predicting Clicks on Ads at Facebook (ADKDD 2014).
    """

    higher_is_better = False
    tasks = ("classification",)
    needs_group = False

    def __call__(
        self,
        labels: np.ndarray,
        scores: np.ndarray,
        weights: np.ndarray | None = None,
        group: np.ndarray | None = None,
    ) -> float:
        if labels.size == 0 or labels.min() == labels.max():
            return float("nan")
        from sklearn.metrics import log_loss

        rate = float(np.average(labels, weights=weights))
        entropy = -(rate * np.log(rate) + (1 - rate) * np.log1p(-rate))
        loss = log_loss(labels, scores.astype(np.float64), sample_weight=weights, labels=[0, 1])
        return float(loss / entropy)
