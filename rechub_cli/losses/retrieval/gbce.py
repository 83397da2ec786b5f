"""Binary cross-entropy that sampled negatives do not make overconfident."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from rechub_cli.losses.retrieval.average import occurrences, over_queries


class GBCE:
    """Point-wise: binary cross-entropy with the chosen item's probability to the power beta.

    With few negatives of a large catalogue, BCE learns probabilities near 1 for everything; beta undoes that.
    Petrov and Macdonald, gSASRec (RecSys 2023), https://arxiv.org/abs/2308.07192.

    Args:
        t: 1 undoes it altogether, 0 is the plain cross-entropy of all pairs; the paper's best for a few hundred
            negatives is 0.75.
    """

    mode = 0
    log_q = False

    def __init__(self, *, t: float = 0.75) -> None:
        self.t = t

    def bind(self, n_items: int) -> None:
        """The size of the catalogue."""
        self.n_items = n_items

    def __call__(
        self, positive: Tensor, negatives: Tensor, weights: Tensor | None = None, counts: Tensor | None = None
    ) -> Tensor:
        """The mean over queries.

        Args:
            positive: (Q,) logits of the chosen items.
            negatives: (Q, N) logits; -inf where there is none.
            weights: (Q,).
            counts: (N,) or (Q, N): how often each negative was drawn.
        """
        often = occurrences(negatives, counts)
        n = often.sum(dim=1)
        rate = (n / max(self.n_items - 1, 1)).clamp(1e-12, 1.0)  # share of the other items that are negatives
        beta = rate * (self.t * (1 - 1 / rate) + 1 / rate)
        losses = beta * F.softplus(-positive) + (often * F.softplus(negatives)).sum(dim=1)
        return over_queries(losses / (1 + n), weights)
