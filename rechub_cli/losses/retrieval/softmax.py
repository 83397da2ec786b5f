"""Cross-entropy of the chosen item among its candidates."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from rechub_cli.losses.retrieval.average import over_queries


class Softmax:
    """List-wise: the chosen item's share of the softmax over itself and the negatives.

    With ``log_q``, negatives are weighted so that their sum estimates that of the whole catalogue, and the chosen item,
    which is always there, is left as it is: Khrylchenko et al., Correcting the LogQ Correction (RecSys 2025),
    https://arxiv.org/abs/2507.09331. With ``correct_positive`` it is corrected as if it had been drawn too: Bengio and
    Senecal, 2008, and TensorFlow's sampled softmax.

    Args:
        log_q: correct the scores of sampled items for how likely their draw was.
        correct_positive: the chosen item's too.
    """

    mode = 2

    def __init__(self, *, log_q: bool = True, correct_positive: bool = False) -> None:
        self.log_q, self.correct_positive = log_q, correct_positive

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
        if counts is not None:
            negatives = negatives + counts.log()
        if not negatives.shape[1]:
            return over_queries(positive * 0.0, weights)
        return over_queries(F.softplus(negatives.logsumexp(dim=1) - positive), weights)

    def gradients(
        self, positive: Tensor, negatives: Tensor, shares: Tensor, counts: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The sum of losses * ``shares`` (Q,), and its gradient by ``positive``; that by ``negatives`` replaces them.

        Scores are many, and this passes over them least often: one exponential gives the value and the gradient.
        """
        if counts is not None:
            negatives += counts.log()
        top = torch.maximum(negatives.amax(dim=1), positive) if negatives.shape[1] else positive
        own = (positive - top).exp_()
        total = negatives.sub_(top[:, None]).exp_().sum(dim=1).add_(own)
        losses = total.log().add_(top).sub_(positive)
        negatives.mul_((shares / total)[:, None])
        return (losses * shares).sum(), shares * (own / total - 1)
