"""Negatives from the batch: the other queries' own items."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from rechub_cli.batch import Batch
from rechub_cli.nn.candidates import Candidates, drawn, frequencies, generator
from rechub_cli.schema import Schema


class InBatch:
    """The items that the other queries of the batch chose: no more look-ups, and popular items more often.

    An item that several queries chose is one candidate with a count, so the item tower runs once for it.
    Yi et al., Sampling-Bias-Corrected Neural Modeling for Large Corpus Item Recommendations (RecSys 2019),
    https://dl.acm.org/doi/10.1145/3298689.3346996. DIFF: how often an item is expected comes from the counts of
    training instead of a running estimate.

    Args:
        n: take the items of so many queries only, drawn anew at each step; all by default.
        hard: of these, each query keeps the ``hard`` that score highest.
    """

    def __init__(self, *, n: int | None = None, hard: int | None = None) -> None:
        self.n, self.hard = n, hard

    def bind(self, counts: Tensor, seed: int, schema: Schema) -> None:
        """``counts`` (I,): how often training chose each item of the catalogue."""
        self.seed, self.q = seed, frequencies(counts)

    def draw(self, positives: Tensor, batch: Batch, *, epoch: int, step: int) -> Candidates:
        """Candidates for queries whose own items are ``positives`` (Q,)."""
        draws, size = positives.cpu().numpy(), len(positives)
        n = size if self.n is None else min(self.n, size)
        if n < size:
            draws = generator((self.seed, epoch, step)).choice(draws, n, replace=False)
        others = n * max(size - 1, 1) / size  # a query's own item is none of its negatives
        return drawn(np.asarray(draws), others * self.q, positives)
