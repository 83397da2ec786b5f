"""Mean squared error."""

from __future__ import annotations

import numpy as np


class MSE:
    """Mean squared error."""

    higher_is_better = False
    tasks = ("regression", "classification")
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
        from sklearn.metrics import mean_squared_error

        return float(mean_squared_error(labels.astype(np.float64), scores.astype(np.float64), sample_weight=weights))
