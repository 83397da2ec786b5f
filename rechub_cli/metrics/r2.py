"""Share of the variance that is explained."""

from __future__ import annotations

import numpy as np


class R2:
    """Coefficient of determination: 1 minus squared error over that of the labels' mean.

    1 is perfect, the mean of the labels has 0, worse than that is negative; undefined where all labels are equal.
    """

    higher_is_better = True
    tasks = ("regression",)
    needs_group = False

    def __call__(
        self,
        labels: np.ndarray,
        scores: np.ndarray,
        weights: np.ndarray | None = None,
        group: np.ndarray | None = None,
    ) -> float:
        if labels.size < 2 or (labels == labels[0]).all():
            return float("nan")
        from sklearn.metrics import r2_score

        return float(r2_score(labels.astype(np.float64), scores.astype(np.float64), sample_weight=weights))
