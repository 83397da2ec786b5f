"""Recall at 0.5."""

from __future__ import annotations

import numpy as np


class Recall:
    """Share of the positive rows that are predicted so (0.5 or above); NaN where none is positive."""

    higher_is_better = True
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
        from sklearn.metrics import recall_score

        return float(recall_score(labels > 0.5, scores >= 0.5, sample_weight=weights, zero_division=np.nan))
