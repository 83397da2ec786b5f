"""Accuracy at 0.5."""

from __future__ import annotations

import numpy as np


class Accuracy:
    """Share of rows on the right side of 0.5."""

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
        from sklearn.metrics import accuracy_score

        return float(accuracy_score(labels > 0.5, scores >= 0.5, sample_weight=weights))
