"""Pairs of a chosen and another item."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from rechub_cli.losses.retrieval.average import occurrences, over_queries


class BPR:
    """Pair-wise: the chosen item scores above each negative; the mean over a query's pairs.

    Rendle et al., Bayesian Personalized Ranking (UAI 2009), https://arxiv.org/abs/1205.2618.
    """

    mode = 1
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
        losses = often * F.softplus(negatives - positive[:, None])
        return over_queries(losses.sum(dim=1) / often.sum(dim=1).clamp_min(1), weights)
