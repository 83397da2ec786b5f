"""Mean reciprocal rank within groups."""

from __future__ import annotations

import numpy as np


class MRR:
    """One over the rank of each group's best positive row, averaged over the groups that have one.

    Equal scores are ranked as unluckily as they can fall. Row weights are not used. NaN where no group has
    a positive row.

    Args:
        k: a positive row ranked lower than this earns 0; all ranks count by default.
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
            raise ValueError("MRR needs the group of each row")
        if labels.size == 0:
            return float("nan")
        positive = labels > 0.5
        order = np.lexsort((positive, -scores, group))
        positive, group = positive[order], group[order]
        groups = np.flatnonzero(np.r_[True, group[1:] != group[:-1]])
        rank = np.arange(group.size) - np.repeat(groups, np.diff(np.r_[groups, group.size])) + 1
        first = np.minimum.reduceat(np.where(positive, rank, np.iinfo(np.int64).max), groups)
        first = first[np.logical_or.reduceat(positive, groups)]
        worth = 1 / first if self.k is None else np.where(first <= self.k, 1 / first, 0.0)
        return float(worth.mean()) if first.size else float("nan")
