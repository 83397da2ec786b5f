"""Precision at 0.5."""

from __future__ import annotations

import numpy as np


class Precision:
    """Share of the rows predicted positive (0.5 or above) that are; NaN where none is predicted."""

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
        from sklearn.metrics import precision_score

        return float(precision_score(labels > 0.5, scores >= 0.5, sample_weight=weights, zero_division=np.nan))
