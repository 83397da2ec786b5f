"""Expected calibration error."""

from __future__ import annotations

import numpy as np


class ExpectedCalibrationError:
    """Distance of predicted from observed rates, averaged over equally wide bins of the prediction by their rows.

    Guo et al., On Calibration of Modern Neural Networks (ICML 2017), https://arxiv.org/abs/1706.04599, with
    the probability of the positive class.

    Args:
        n_bins: bins over [0, 1].
    """

    higher_is_better = False
    tasks = ("classification",)
    needs_group = False

    def __init__(self, *, n_bins: int = 15) -> None:
        self.n_bins = n_bins

    def __call__(
        self,
        labels: np.ndarray,
        scores: np.ndarray,
        weights: np.ndarray | None = None,
        group: np.ndarray | None = None,
    ) -> float:
        if labels.size == 0:
            return float("nan")
        weights = np.ones(labels.size) if weights is None else weights
        bins = np.minimum((scores * self.n_bins).astype(np.int64), self.n_bins - 1)
        gap = np.bincount(bins, weights * (scores.astype(np.float64) - labels), minlength=self.n_bins)
        return float(np.abs(gap).sum() / weights.sum())
