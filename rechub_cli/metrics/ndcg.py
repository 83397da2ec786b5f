"""Normalised discounted cumulative gain within groups."""

from __future__ import annotations

import numpy as np


class NDCG:
    """NDCG@k of each group's rows ranked by score, averaged over the groups with a positive row.

    Equal scores are ranked as unluckily as they can fall, so a constant score earns nothing. Row weights
    are not used. NaN where no group has a positive row.

    Järvelin and Kekäläinen, Cumulated Gain-Based Evaluation of IR Techniques (TOIS 2002).

    Args:
        k: ranks that count; all of them by default.
    """

    higher_is_better = True
    tasks = ("classification",)
    needs_group = True

    def __init__(self, *, k: int | None = None) -> None:
        self.k = k

    def __call__(
        self,
        labels: np.ndarray,
        scores: np.ndarray,
        weights: np.ndarray | None = None,
        group: np.ndarray | None = None,
    ) -> float:
        if group is None:
            raise ValueError("NDCG needs the group of each row")
        if labels.size == 0:
            return float("nan")
        positive = labels > 0.5
        order = np.lexsort((positive, -scores, group))
        positive, group = positive[order], group[order]
        groups = np.flatnonzero(np.r_[True, group[1:] != group[:-1]])
        sizes = np.diff(np.r_[groups, group.size])
        rank = np.arange(group.size) - np.repeat(groups, sizes)
        discount = 1 / np.log2(rank + 2)
        if self.k is not None:
            discount[rank >= self.k] = 0
        positives = np.add.reduceat(positive.astype(np.int64), groups)
        gain = np.add.reduceat(positive * discount, groups)
        ideal = np.add.reduceat((rank < np.repeat(positives, sizes)) * discount, groups)
        some = positives > 0
        return float(np.mean(gain[some] / ideal[some])) if some.any() else float("nan")
