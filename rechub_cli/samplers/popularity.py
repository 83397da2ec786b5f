"""Negatives from the whole catalogue, popular items more often."""

from __future__ import annotations

from typing import Literal

import numpy as np
from torch import Tensor

from rechub_cli.batch import Batch
from rechub_cli.nn.candidates import Candidates, drawn, drawn_apart, frequencies, generator
from rechub_cli.schema import Schema


class Popularity:
    """``n`` items, drawn by ``count ** alpha`` at each step and shared by all its queries.

    ``alpha`` 0.75 is word2vec's: Mikolov et al., 2013, https://arxiv.org/abs/1310.4546.

    Args:
        n: draws of a step, a row or a query.
        alpha: 1 draws items as often as training chose them, 0 draws them evenly.
        hard: of these, each query keeps the ``hard`` that score highest.
        per: ``row`` draws ``n`` for each row, shared by its queries alone: a step of long sequences meets far more
            items, at a higher cost. ``query`` draws for each query, as papers of one negative for each event do.
    """

    def __init__(
        self,
        *,
        n: int = 256,
        alpha: float = 0.75,
        hard: int | None = None,
        per: Literal["step", "row", "query"] = "step",
    ) -> None:
        self.n, self.alpha, self.hard, self.per = n, alpha, hard, per

    def bind(self, counts: Tensor, seed: int, schema: Schema) -> None:
        """``counts`` (I,): how often training chose each item of the catalogue."""
        self.seed = seed
        q = frequencies(counts, self.alpha)
        self.expected, self.ends = self.n * q, np.cumsum(q)

    def draw(self, positives: Tensor, batch: Batch, *, epoch: int, step: int) -> Candidates:
        """Candidates for queries whose own items are ``positives`` (Q,)."""
        random = generator((self.seed, epoch, step))
        size = {"step": (self.n,), "row": (len(batch), self.n), "query": (len(positives), self.n)}[self.per]
        draws = np.searchsorted(self.ends, random.random(size) * self.ends[-1], side="right")
        if self.per == "step":
            return drawn(draws, self.expected, positives)
        return drawn_apart(draws, self.expected, positives, self.per == "query")
