"""Precision at k."""

from __future__ import annotations

from rechub_cli.nn.ranks import Ranking


class Precision:
    """Share of a query's first k that is relevant, averaged over the queries; NaN where there is none.

    Args:
        k: length of the list that counts, and the denominator.
    """

    higher_is_better = True
    needs_top = False

    def __init__(self, *, k: int = 10) -> None:
        self.k = k

    def __call__(self, ranking: Ranking) -> float:
        share = ranking.hits(self.k) / self.k
        return float(share.mean()) if share.size else float("nan")
