"""The factorization machine's pairwise term."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class _BiInteraction(torch.autograd.Function):
    """The pairwise products, summed, with their gradient written in one expression."""

    @staticmethod
    def forward(ctx: Any, fields: Tensor) -> Tensor:
        total = fields.sum(1)  # (B, E)
        ctx.save_for_backward(fields, total)
        # a norm squares and adds without an intermediate (B, F, E)
        squares = torch.linalg.vector_norm(fields, dim=1).square_()
        return total.square().sub_(squares).mul_(0.5)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        fields, total = ctx.saved_tensors
        return torch.addcmul((total * grad).unsqueeze(1), fields, grad.unsqueeze(1), value=-1)


def bi_interaction(fields: Tensor) -> Tensor:
    """(B, F, E) -> (B, E): the elementwise products of all pairs of fields, summed.

    He and Chua, SIGIR 2017, https://arxiv.org/abs/1708.05027; computed in O(F E) as half of (square of the sum - sum of
    the squares).
    """
    with torch.autocast(fields.device.type, enabled=False):
        interaction: Tensor = _BiInteraction.apply(fields)
    return interaction


class FM(nn.Module):
    """Pairwise interactions: the dot products of all pairs of field embeddings, summed.

    Rendle, ICDM 2010; from the bi-interaction of the fields (see ``bi_interaction``), whose E values are summed.
    DIFF for several tasks: each weighs the E values by weights of its own, which start at one; for one task there are
    none, as in the paper.
    Shape: (B, E) -> (B, n_tasks), float32.
    """

    def __init__(self, dim: int, n_tasks: int = 1) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim, n_tasks)) if n_tasks > 1 else None

    def forward(self, interaction: Tensor) -> Tensor:
        if self.weight is None:
            return interaction.sum(1, keepdim=True)
        with torch.autocast(interaction.device.type, enabled=False):
            return interaction @ self.weight
