"""Negatives from the whole catalogue, each item as likely as any other."""

from __future__ import annotations

from typing import Literal

import numpy as np
from torch import Tensor

from rechub_cli.batch import Batch
from rechub_cli.nn.candidates import Candidates, drawn, drawn_apart, generator
from rechub_cli.schema import Schema


class Uniform:
    """``n`` items of the catalogue, drawn evenly at each step and shared by all its queries.

    Args:
        n: draws of a step, a row or a query.
        hard: of these, each query keeps the ``hard`` that score highest.
        per: ``row`` draws ``n`` for each row, shared by its queries alone: a step of long sequences meets far more
            items, at a higher cost. ``query`` draws for each query, as papers of one negative for each event do.
    """

    def __init__(self, *, n: int = 256, hard: int | None = None, per: Literal["step", "row", "query"] = "step") -> None:
        self.n, self.hard, self.per = n, hard, per

    def bind(self, counts: Tensor, seed: int, schema: Schema) -> None:
        """``counts`` (I,): how often training chose each item of the catalogue."""
        self.seed, self.size = seed, len(counts)
        self.expected = np.full(self.size, self.n / self.size)

    def draw(self, positives: Tensor, batch: Batch, *, epoch: int, step: int) -> Candidates:
        """Candidates for queries whose own items are ``positives`` (Q,)."""
        random = generator((self.seed, epoch, step))
        if self.per == "step":
            return drawn(random.integers(0, self.size, self.n), self.expected, positives)
        draws = random.integers(0, self.size, (len(batch if self.per == "row" else positives), self.n))
        return drawn_apart(draws, self.expected, positives, self.per == "query")
