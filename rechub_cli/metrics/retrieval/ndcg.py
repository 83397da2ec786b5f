"""Normalised discounted cumulative gain."""

from __future__ import annotations

import numpy as np

from rechub_cli.nn.ranks import MISSED, Ranking


class NDCG:
    """Gain of a query's relevant items, each discounted by its rank, over the most that could be had within k.

    With one relevant item this is ``1 / log2(1 + rank)``. NaN where there is no query.

    Järvelin and Kekäläinen, Cumulated Gain-Based Evaluation of IR Techniques (TOIS 2002).

    Args:
        k: ranks that count; all of them by default.
    """

    higher_is_better = True
    needs_top = False

    def __init__(self, *, k: int | None = None) -> None:
        self.k = k

    def __call__(self, ranking: Ranking) -> float:
        if not ranking.relevant.size:
            return float("nan")
        limit = MISSED - 1 if self.k is None else self.k
        gain = ranking.sums(np.where(ranking.ranks <= limit, 1 / np.log2(1.0 + ranking.ranks), 0.0))
        most = np.minimum(ranking.relevant, limit)
        ideal = np.cumsum(1 / np.log2(np.arange(2, most.max() + 2)))
        return float(np.mean(gain / ideal[most - 1]))
