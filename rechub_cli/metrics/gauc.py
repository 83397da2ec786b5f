"""AUC within groups."""

from __future__ import annotations

import numpy as np


class GAUC:
    """AUC of each group (usually a user), averaged by the groups' rows (their weights, if rows are weighted).

    Groups with one class only are left out; NaN where none is left.

    Zhu et al., Optimized Cost per Click in Taobao Display Advertising (KDD 2017),
    https://arxiv.org/abs/1703.02091.
    """

    higher_is_better = True
    tasks = ("classification",)
    needs_group = True

    def __call__(
        self,
        labels: np.ndarray,
        scores: np.ndarray,
        weights: np.ndarray | None = None,
        group: np.ndarray | None = None,
    ) -> float:
        if group is None:
            raise ValueError("GAUC needs the group of each row")
        if labels.size == 0:
            return float("nan")
        weights = np.ones(labels.size) if weights is None else weights.astype(np.float64)
        order = np.lexsort((scores, group))
        labels, scores, weights, group = labels[order] > 0.5, scores[order], weights[order], group[order]

        new_group = np.r_[True, group[1:] != group[:-1]]
        groups = np.flatnonzero(new_group)
        ties = np.flatnonzero(new_group | np.r_[True, scores[1:] != scores[:-1]])  # equal scores of one group
        positive = np.add.reduceat(weights * labels, ties)
        negative = np.add.reduceat(weights * ~labels, ties)

        # Negative weight below each run of ties within its group, half of the run's own included.
        first = np.searchsorted(ties, groups)  # the first run of each group
        before = np.cumsum(negative) - negative
        owner = np.repeat(np.arange(groups.size), np.diff(np.r_[first, ties.size]))
        below = before - before[first][owner] + 0.5 * negative

        won = np.add.reduceat(positive * below, first)
        positives, negatives = np.add.reduceat(positive, first), np.add.reduceat(negative, first)
        both = (positives > 0) & (negatives > 0)
        if not both.any():
            return float("nan")
        auc = won[both] / (positives[both] * negatives[both])
        return float(np.average(auc, weights=(positives + negatives)[both]))
