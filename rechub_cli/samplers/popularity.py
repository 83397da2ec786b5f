"""Negatives from the whole catalogue, popular items more often."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from rechub_cli.batch import Batch
from rechub_cli.nn.candidates import Candidates, drawn, frequencies, generator
from rechub_cli.schema import Schema


class Popularity:
    """``n`` items, drawn by ``count ** alpha`` at each step and shared by all its queries.

    ``alpha`` 0.75 is word2vec's: Mikolov et al., 2013, https://arxiv.org/abs/1310.4546.

    Args:
        n: draws of a step.
        alpha: 1 draws items as often as training chose them, 0 draws them evenly.
        hard: of these, each query keeps the ``hard`` that score highest.
    """

    def __init__(self, *, n: int = 256, alpha: float = 0.75, hard: int | None = None) -> None:
        self.n, self.alpha, self.hard = n, alpha, hard

    def bind(self, counts: Tensor, seed: int, schema: Schema) -> None:
        """``counts`` (I,): how often training chose each item of the catalogue."""
        self.seed = seed
        q = frequencies(counts, self.alpha)
        self.expected, self.ends = self.n * q, np.cumsum(q)

    def draw(self, positives: Tensor, batch: Batch, *, epoch: int, step: int) -> Candidates:
        """Candidates for queries whose own items are ``positives`` (Q,)."""
        shares = generator((self.seed, epoch, step)).random(self.n) * self.ends[-1]
        return drawn(np.searchsorted(self.ends, shares, side="right"), self.expected, positives)
