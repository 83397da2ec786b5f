"""Negatives from the batch and from the whole catalogue together."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from rechub_cli.batch import Batch
from rechub_cli.nn.candidates import Candidates, drawn, frequencies, generator
from rechub_cli.schema import Schema


class Mixed:
    """The other queries' items, and ``n`` items drawn evenly: items that nobody chooses are met too.

    Yang et al., Mixed Negative Sampling for Learning Two-tower Neural Networks in Recommendations (WWW 2020),
    https://dl.acm.org/doi/10.1145/3366424.3386195. An item counts with what both sources together expect of it.

    Args:
        n: draws of a step beside the batch.
        hard: of all, each query keeps the ``hard`` that score highest.
    """

    def __init__(self, *, n: int = 256, hard: int | None = None) -> None:
        self.n, self.hard = n, hard

    def bind(self, counts: Tensor, seed: int, schema: Schema) -> None:
        """``counts`` (I,): how often training chose each item of the catalogue."""
        self.seed, self.size, self.q = seed, len(counts), frequencies(counts)

    def draw(self, positives: Tensor, batch: Batch, *, epoch: int, step: int) -> Candidates:
        """Candidates for queries whose own items are ``positives`` (Q,)."""
        even = generator((self.seed, epoch, step)).integers(0, self.size, self.n)
        draws = np.concatenate([positives.cpu().numpy(), even])
        return drawn(draws, (len(positives) - 1) * self.q + self.n / self.size, positives)
