"""Averages that every retrieval loss takes in one way: over the queries, and over a query's negatives."""

from __future__ import annotations

from torch import Tensor


def over_queries(values: Tensor, weights: Tensor | None) -> Tensor:
    """Mean of (Q,), weighted by ``weights`` (Q,) where there are some; their scale does not matter."""
    return values.mean() if weights is None else (values * weights).sum() / weights.sum().clamp_min(1e-12)


def occurrences(negatives: Tensor, counts: Tensor | None) -> Tensor:
    """(Q, N): how often each negative was drawn; 0 where it is masked."""
    there = negatives.detach().isneginf().logical_not_().float()
    return there if counts is None else there * counts
