"""Negatives from the whole catalogue, each item as likely as any other."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from rechub_cli.batch import Batch
from rechub_cli.nn.candidates import Candidates, drawn, generator
from rechub_cli.schema import Schema


class Uniform:
    """``n`` items of the catalogue, drawn evenly at each step and shared by all its queries.

    Args:
        n: draws of a step.
        hard: of these, each query keeps the ``hard`` that score highest.
    """

    def __init__(self, *, n: int = 256, hard: int | None = None) -> None:
        self.n, self.hard = n, hard

    def bind(self, counts: Tensor, seed: int, schema: Schema) -> None:
        """``counts`` (I,): how often training chose each item of the catalogue."""
        self.seed, self.size = seed, len(counts)
        self.expected = np.full(self.size, self.n / self.size)

    def draw(self, positives: Tensor, batch: Batch, *, epoch: int, step: int) -> Candidates:
        """Candidates for queries whose own items are ``positives`` (Q,)."""
        draws = generator((self.seed, epoch, step)).integers(0, self.size, self.n)
        return drawn(draws, self.expected, positives)
