"""Coverage of the catalogue."""

from __future__ import annotations

import numpy as np

from rechub_cli.nn.ranks import Ranking


class Coverage:
    """Share of the catalogue that is among the first k of at least one query.

    Args:
        k: length of the list that counts.
    """

    higher_is_better = True
    needs_top = True

    def __init__(self, *, k: int = 10) -> None:
        self.k = k

    def __call__(self, ranking: Ranking) -> float:
        if ranking.top is None:
            raise ValueError("Coverage needs the best items of each query")
        shown = np.unique(ranking.top[:, : self.k])
        return float((shown >= 0).sum() / len(ranking.counts)) if len(ranking.top) else float("nan")
