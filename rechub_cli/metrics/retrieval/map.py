"""Mean average precision at k."""

from __future__ import annotations

import numpy as np

from rechub_cli.nn.ranks import MISSED, Ranking


class MAP:
    """Precision at the rank of each relevant item within k, added up, over ``min(relevant items, k)``.

    Averaged over the queries; NaN where there is none.

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
        number = np.arange(len(ranking.ranks)) - np.repeat(ranking.starts[:-1], ranking.relevant) + 1  # in its query
        precision = np.where(ranking.ranks <= limit, number / ranking.ranks, 0.0)
        return float(np.mean(ranking.sums(precision) / np.minimum(ranking.relevant, limit)))
