"""The factorization machine's pairwise term."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class _PairwiseSum(torch.autograd.Function):
    """Sum of the dot products of all pairs of fields, with its gradient written in one expression."""

    @staticmethod
    def forward(ctx: Any, fields: Tensor) -> Tensor:
        total = fields.sum(1)  # (B, E)
        ctx.save_for_backward(fields, total)
        # norms square and add without an intermediate (B, F * E)
        norms = [torch.linalg.vector_norm(x, dim=1, keepdim=True).square_() for x in (total, fields.flatten(1))]
        return norms[0].sub_(norms[1]).mul_(0.5)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        fields, total = ctx.saved_tensors
        return torch.addcmul((total * grad).unsqueeze(1), fields, grad.unsqueeze(2), value=-1)


class FM(nn.Module):
    """Pairwise interactions: the dot products of all pairs of field embeddings, summed.

    Rendle, ICDM 2010; computed in O(F E) as half of (square of the sum - sum of the squares).
    DIFF for several tasks: each weighs the E dimensions of the sum by weights of its own, which
    start at one; for one task there are none, as in the paper.
    Shape: (B, F, E) -> (B, n_tasks), float32.
    """

    def __init__(self, dim: int, n_tasks: int = 1) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim, n_tasks)) if n_tasks > 1 else None

    def forward(self, fields: Tensor) -> Tensor:
        with torch.autocast(fields.device.type, enabled=False):
            if self.weight is None:
                return _PairwiseSum.apply(fields)
            pairs = 0.5 * (fields.sum(1).square() - fields.square().sum(1))  # (B, E)
            return pairs @ self.weight
