"""Recall at k."""

from __future__ import annotations

from rechub_cli.nn.ranks import Ranking


class Recall:
    """Share of a query's relevant items that are among its first k, averaged over the queries.

    The denominator is the number of relevant items even where it exceeds k. NaN where there is no query.

    Args:
        k: length of the list that counts.
    """

    higher_is_better = True
    needs_top = False

    def __init__(self, *, k: int = 10) -> None:
        self.k = k

    def __call__(self, ranking: Ranking) -> float:
        share = ranking.hits(self.k) / ranking.relevant
        return float(share.mean()) if share.size else float("nan")
