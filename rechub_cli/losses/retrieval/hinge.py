"""Pairs of a chosen and another item that are to be a margin apart."""

from __future__ import annotations

from torch import Tensor

from rechub_cli.losses.retrieval.average import occurrences, over_queries


class Hinge:
    """Pair-wise: the chosen item scores above each negative by a margin; the mean over a query's pairs.

    Huang et al., Embedding-based Retrieval in Facebook Search (KDD 2020), https://arxiv.org/abs/2006.11632.

    Args:
        margin: in units of the logit, which is the similarity divided by the temperature.
    """

    mode = 1
    log_q = False

    def __init__(self, *, margin: float = 0.2) -> None:
        self.margin = margin

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
        losses = often * (negatives - positive[:, None] + self.margin).clamp_min(0)
        return over_queries(losses.sum(dim=1) / often.sum(dim=1).clamp_min(1), weights)
