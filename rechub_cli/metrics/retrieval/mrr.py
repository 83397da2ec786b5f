"""Mean reciprocal rank."""

from __future__ import annotations

import numpy as np

from rechub_cli.nn.ranks import MISSED, Ranking


class MRR:
    """One over the rank of a query's best relevant item, averaged over the queries; NaN where there is none.

    Args:
        k: an item ranked lower than this earns 0; all ranks count by default.
    """

    higher_is_better = True
    needs_top = False

    def __init__(self, *, k: int | None = None) -> None:
        self.k = k

    def __call__(self, ranking: Ranking) -> float:
        first = ranking.ranks[ranking.starts[:-1]]
        limit = MISSED - 1 if self.k is None else self.k
        return float(np.where(first <= limit, 1 / first, 0.0).mean()) if first.size else float("nan")
