"""What all makers draw from: ids as skewed as those of logs, and labels that a factorization can learn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa


def zipf(rng: np.random.Generator, n: int, size: int) -> np.ndarray:
    """int32 (n,): ids below ``size``, the k-th most frequent in proportion to 1 / (k + 2) ** 1.05, in random order."""
    weight = 1.0 / np.power(np.arange(size) + 2.0, 1.05)
    cumulative = np.cumsum(weight)
    rank = np.searchsorted(cumulative / cumulative[-1], rng.random(n))
    return rng.permutation(size)[np.minimum(rank, size - 1)].astype(np.int32)


def planted_logits(
    rng: np.random.Generator, ids: Sequence[np.ndarray], sizes: Sequence[int], dense: np.ndarray | None = None
) -> np.ndarray:
    """First-order weights and rank-4 interactions of the ids, linear in the numbers; variance 1.6 squared."""
    n = len(ids[0])
    logits = np.zeros(n) if dense is None else dense @ (rng.standard_normal(dense.shape[1]) * 0.15)
    total, squares = np.zeros((n, 4)), np.zeros((n, 4))
    for column, size in zip(ids, sizes, strict=True):
        logits += (rng.standard_normal(size) * 0.35)[column]
        factors = (rng.standard_normal((size, 4)) * 0.22)[column]
        total += factors
        squares += factors**2
    logits += 0.5 * (total**2 - squares).sum(1)
    return (logits - logits.mean()) / logits.std() * 1.6


def labels(rng: np.random.Generator, logits: np.ndarray, bias: float = -1.2) -> np.ndarray:
    """int8 (n,): 1 with the probability that the logits give."""
    return (rng.random(len(logits)) < 1 / (1 + np.exp(-bias - logits))).astype(np.int8)


class Names:
    """Distinct hexadecimal strings for ids below ``size``, as hashed ids look in a log."""

    def __init__(self, rng: np.random.Generator, size: int) -> None:
        self.strings = pa.array([f"{value:08x}" for value in rng.choice(2**32, size, replace=False)])

    def of(self, ids: np.ndarray) -> pa.Array:
        return self.strings.take(pa.array(ids))
