"""What a sampler hands out: the items of a step that each query's own item is told apart from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Candidates:
    """N candidates of a step, as places of the catalogue.

    ``log_q`` makes a sum over the candidates an estimate of the sum over the catalogue:
    ``sum(counts * exp(score - log_q))`` has the expectation ``sum(exp(score))`` over all items but the query's own.
    """

    places: Tensor  # int64 (N,), distinct, the same for all queries; or (B, N), each row's own, -1 where it has fewer
    log_q: Tensor | None = None  # float32 like places: log of the draws expected of each; None: each is there once
    counts: Tensor | None = None  # float32 (N,): how often each was drawn; None: once
    positive_log_q: Tensor | None = None  # float32 (Q,): log_q of the queries' own items
    by_query: bool = False  # places (Q, N) are each query's own, not each row's


def drawn(draws: np.ndarray, expected: np.ndarray, positives: Tensor) -> Candidates:
    """Draws with repetition as distinct candidates.

    Args:
        draws: places (n,).
        expected: (I,) how many draws of each item are expected, all above 0.
        positives: (Q,) the queries' own places, on the device that the candidates are wanted on.
    """
    device = positives.device
    places, counts = np.unique(draws, return_counts=True)
    log_q = torch.from_numpy(np.log(expected[places]).astype(np.float32))
    own = torch.from_numpy(np.log(expected[positives.cpu().numpy()]).astype(np.float32))
    return Candidates(
        torch.from_numpy(places).to(device),
        log_q.to(device),
        torch.from_numpy(counts.astype(np.float32)).to(device),
        own.to(device),
    )


def drawn_apart(draws: np.ndarray, expected: np.ndarray, positives: Tensor, by_query: bool) -> Candidates:
    """As ``drawn``, of draws (B, n) that each row, or (Q, n) that each query has for itself."""
    logs, device = torch.from_numpy(np.log(expected).astype(np.float32)).to(positives.device), positives.device
    places = torch.from_numpy(draws.astype(np.int64)).to(device)
    return Candidates(places, logs[places], positive_log_q=logs[positives], by_query=by_query)


def frequencies(counts: Tensor, alpha: float = 1.0) -> np.ndarray:
    """float64 (I,): each item's share of the interactions ** ``alpha``; one that was never chosen counts once."""
    weights = counts.detach().cpu().numpy().astype(np.float64).clip(min=1.0) ** alpha
    return weights / weights.sum()


def generator(position: Sequence[int]) -> np.random.Generator:
    """Randomness of one step: a pure function of (seed, epoch, step), the same on every device."""
    return np.random.default_rng([number % 2**63 for number in position])
