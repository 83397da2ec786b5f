"""The whole catalogue."""

from __future__ import annotations

import torch
from torch import Tensor

from rechub_cli.batch import Batch
from rechub_cli.nn.candidates import Candidates
from rechub_cli.schema import Schema


class Full:
    """Every item of the catalogue, at every step: with the softmax loss, the exact cross-entropy.

    Args:
        hard: each query keeps the ``hard`` that score highest.
    """

    def __init__(self, *, hard: int | None = None) -> None:
        self.hard = hard

    def bind(self, counts: Tensor, seed: int, schema: Schema) -> None:
        """``counts`` (I,): how often training chose each item of the catalogue."""
        self.size = len(counts)

    def draw(self, positives: Tensor, batch: Batch, *, epoch: int, step: int) -> Candidates:
        """Candidates for queries whose own items are ``positives`` (Q,)."""
        return Candidates(torch.arange(self.size, device=positives.device))
