"""Dynamic routing: a history's values gathered into a few capsules."""

from __future__ import annotations

from torch import Tensor


def squash(x: Tensor) -> Tensor:
    """(..., E): the same direction, length below 1; zero stays zero and has a finite gradient."""
    square = x.square().sum(dim=-1, keepdim=True)
    return x * square / ((1 + square) * (square + 1e-9).sqrt())


def route(votes: Tensor, logits: Tensor, inside: Tensor, iterations: int) -> Tensor:
    """Gather votes into capsules: Sabour et al., 2017, https://arxiv.org/abs/1710.09829, procedure 1.

    Gradients pass through the last iteration alone, as in the authors' code of MIND and ComiRec.

    Args:
        votes: (B, K, L, E): what each value says of each capsule; or (B, 1, L, E) where it says the same of all.
        logits: (B, K, L), or what broadcasts to it: first routing logits; -inf for a capsule that is absent.
        inside: bool (B, L): not padding.
        iterations: at least 1.

    Returns: (B, K, E): capsules; zero where a capsule is absent or the history is empty.
    """
    fixed = votes.detach()
    for iteration in range(iterations):
        last = iteration == iterations - 1
        shares = logits.softmax(dim=1) * inside[:, None]
        capsules = squash((shares[:, :, None] @ (votes if last else fixed)).squeeze(2))  # (B, K, E)
        if not last:
            logits = logits + (fixed @ capsules[..., None]).squeeze(3)
    return capsules
