"""Cross-entropy of the chosen item among its candidates."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

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
        return over_queries(_CrossEntropy.apply(positive, negatives), weights)


class _CrossEntropy(torch.autograd.Function):
    """``log(exp(p) + sum(exp(n))) - p`` (Q,), with one exponential for value and gradient: scores are many."""

    @staticmethod
    def forward(ctx: Any, positive: Tensor, negatives: Tensor) -> Tensor:
        top = torch.maximum(negatives.amax(dim=1), positive)
        shares = torch.sub(negatives, top[:, None]).exp_()
        own = (positive - top).exp_()
        total = shares.sum(dim=1).add_(own)
        ctx.shares, ctx.own, ctx.total = shares, own, total
        return total.log().add_(top).sub_(positive)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        scale = grad / ctx.total
        return scale * ctx.own - grad, ctx.shares * scale[:, None]
