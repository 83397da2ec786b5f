"""Novelty of what is recommended."""

from __future__ import annotations

import numpy as np

from rechub_cli.nn.ranks import Ranking


class Novelty:
    """Mean self-information, in bits, of the items among the first k of each query: rare items are news.

    An item's probability is its share of the training interactions, each item having one more than it has, so
    that an item without any is finite. NaN where nothing is recommended.

    Zhou et al., Solving the apparent diversity-accuracy dilemma of recommender systems (PNAS 2010),
    https://arxiv.org/abs/0808.2670. DIFF: they count users, not interactions, and meet no item without any.

    Args:
        k: length of the list that counts.
    """

    higher_is_better = True
    needs_top = True

    def __init__(self, *, k: int = 10) -> None:
        self.k = k

    def __call__(self, ranking: Ranking) -> float:
        if ranking.top is None:
            raise ValueError("Novelty needs the best items of each query")
        shown = ranking.top[:, : self.k]
        shown = shown[shown >= 0]
        if not shown.size:
            return float("nan")
        seen = ranking.counts + 1.0
        return float(-np.log2(seen[shown] / seen.sum()).mean())
