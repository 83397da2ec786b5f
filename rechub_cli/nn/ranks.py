"""Where the relevant items of each query stand in the order that a model gives the candidates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rechub_cli.batch import Jagged
from rechub_cli.nn.search import blocks

MISSED = 2**62  # the rank of an item that is no candidate: below every other


@dataclass(frozen=True, slots=True)
class Ranking:
    """What retrieval metrics are computed from; numpy arrays.

    Shape legend: Q queries, R relevant items of all queries, K items of a list, I items.
    """

    ranks: np.ndarray  # int64 (R,) from 1, rising within a query; MISSED where the item cannot be found
    starts: np.ndarray  # int64 (Q + 1,): query i's ranks are ranks[starts[i]:starts[i + 1]], at least one
    counts: np.ndarray  # int64 (I,): training interactions of every item
    top: np.ndarray | None = None  # int64 (Q, K): places of the best items, best first; -1 where none is left

    @property
    def relevant(self) -> np.ndarray:
        """int64 (Q,): relevant items of each query."""
        return np.diff(self.starts)

    def take(self, queries: np.ndarray) -> Ranking:
        """Some of the queries, by their places; one may be taken several times."""
        lengths = self.relevant[queries]
        starts = np.r_[0, lengths.cumsum()]
        places = np.arange(starts[-1]) + np.repeat(self.starts[:-1][queries] - starts[:-1], lengths)
        return Ranking(self.ranks[places], starts, self.counts, None if self.top is None else self.top[queries])

    def sums(self, worth: np.ndarray) -> np.ndarray:
        """float64 (Q,): the worth (R,) of each query's relevant items, added up."""
        return np.add.reduceat(worth, self.starts[:-1]) if len(self.starts) > 1 else np.empty(0)

    def hits(self, k: int | None) -> np.ndarray:
        """float64 (Q,): relevant items among each query's first k."""
        return self.sums((self.ranks <= (MISSED - 1 if k is None else k)).astype(np.float64))


def ranks(scores: Tensor, targets: Jagged) -> np.ndarray:
    """The rank of each target among the candidates of its row: as low as equal scores allow.

    Scores that are equal to a target's count as higher; targets do not stand in each other's way by that.

    Args:
        scores: float32 (B, I), no NaN; -inf is no candidate.
        targets: places, B rows; no place twice in a row; -1 is in no catalogue.

    Returns:
        int64 (R,), from 1, rising within a row; MISSED where the target is no candidate.
    """
    rows, places = targets.rows, targets.values.long()
    own = scores[rows, places.clamp(min=0)]
    own = own.masked_fill(places < 0, -torch.inf)
    found = _at_least(scores, rows, own).cpu().numpy()
    found[(own == -torch.inf).cpu().numpy()] = MISSED
    row = rows.cpu().numpy()
    order = np.lexsort((found, row))
    row, found = row[order], found[order]
    # Targets of one row with equal scores have the same count, which holds all of them: the first stands highest.
    first = np.r_[True, (row[1:] != row[:-1]) | (found[1:] != found[:-1])]
    start = np.flatnonzero(first)
    equal = np.diff(np.r_[start, len(found)])
    lifted = found - np.repeat(equal + start, equal) + np.arange(len(found)) + 1
    return np.where(found == MISSED, MISSED, lifted)


def _at_least(scores: Tensor, rows: Tensor, own: Tensor) -> Tensor:
    """int64 (R,): candidates of row ``rows[i]`` that score at least ``own[i]``."""
    n = len(scores)
    one_each = len(rows) == n and bool((rows == torch.arange(n, device=rows.device)).all())
    found = torch.empty(len(rows), dtype=torch.int64, device=scores.device)
    for start, stop in blocks(len(rows), scores.shape[1]):
        part = scores[start:stop] if one_each else scores[rows[start:stop]]
        higher = torch.empty_like(part)  # as numbers: adding up truth values is ten times as slow
        torch.ge(part, own[start:stop, None], out=higher)
        found[start:stop] = higher.sum(1).long()
    return found
