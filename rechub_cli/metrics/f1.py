"""F1 at 0.5."""

from __future__ import annotations

import numpy as np


class F1:
    """Harmonic mean of precision and recall at 0.5; NaN where no row is or is predicted positive."""

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
        from sklearn.metrics import f1_score

        return float(f1_score(labels > 0.5, scores >= 0.5, sample_weight=weights, zero_division=np.nan))
