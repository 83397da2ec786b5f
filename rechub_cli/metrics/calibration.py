"""Predicted over observed."""

from __future__ import annotations

import numpy as np


class Calibration:
    """Sum of the predictions over the sum of the labels: 1 is perfect, above 1 promises too much.

    NaN where no label is positive. Best near 1, so it cannot be monitored.
    """

    higher_is_better = False
    tasks = ("classification", "regression")
    needs_group = False
    monitor = False

    def __call__(
        self,
        labels: np.ndarray,
        scores: np.ndarray,
        weights: np.ndarray | None = None,
        group: np.ndarray | None = None,
    ) -> float:
        weights = np.ones(labels.size) if weights is None else weights
        observed = float(np.dot(labels.astype(np.float64), weights))
        predicted = float(np.dot(scores.astype(np.float64), weights))
        return predicted / observed if observed else float("nan")
