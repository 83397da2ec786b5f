"""Binary log loss."""

from __future__ import annotations

import numpy as np


class LogLoss:
    """Mean binary cross-entropy of predicted probabilities (natural logarithm)."""

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
        if labels.size == 0:
            return float("nan")
        from sklearn.metrics import log_loss

        return float(log_loss(labels, scores.astype(np.float64), sample_weight=weights, labels=[0, 1]))
