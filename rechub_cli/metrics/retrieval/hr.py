"""Hit rate at k."""

from __future__ import annotations

from rechub_cli.nn.ranks import Ranking


class HitRate:
    """Share of the queries with a relevant item among their first k; NaN where there is no query.

    Args:
        k: length of the list that counts.
    """

    higher_is_better = True
    needs_top = False

    def __init__(self, *, k: int = 10) -> None:
        self.k = k

    def __call__(self, ranking: Ranking) -> float:
        hit = ranking.hits(self.k) > 0
        return float(hit.mean()) if hit.size else float("nan")
