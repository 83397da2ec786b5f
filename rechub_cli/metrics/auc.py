"""Area under the ROC curve."""

from __future__ import annotations

import numpy as np


class AUC:
    """Chance that a random positive row is scored above a random negative one; ties count half.

    NaN where the labels have one class only.
    """

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
        if labels.size == 0 or labels.min() == labels.max():
            return float("nan")
        from sklearn.metrics import roc_auc_score

        return float(roc_auc_score(labels, scores, sample_weight=weights))
