"""Binary cross-entropy of chosen and other items."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from rechub_cli.losses.retrieval.average import occurrences, over_queries


class BCE:
    """Point-wise: the chosen item is a 1, each negative a 0.

    A query's negatives together count as much as its chosen item: however many they are, to say no to everything does
    not pay.
    """

    mode = 0
    log_q = False

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
        of_negatives = (often * F.softplus(negatives)).sum(dim=1) / often.sum(dim=1).clamp_min(1)
        return over_queries((F.softplus(-positive) + of_negatives) / 2, weights)
