"""EASE, Steck, WWW 2019, https://arxiv.org/abs/1905.03375"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rechub_cli.batch import Batch, Jagged
from rechub_cli.data.memory import available
from rechub_cli.errors import SpecError
from rechub_cli.nn.counts import resize_on_load, together
from rechub_cli.schema import Schema

FEW = 16  # where users have fewer than one item in so many, adding up rows is quicker than a product of matrices


class EASE(nn.Module):
    """Embarrassingly shallow autoencoder: a linear weight for each pair of items, in closed form.

    B minimises |X - XB|^2 + l2 |B|^2 with a zero diagonal, where X says which user has which item; a user's score for
    an item is the sum of B over the items that the user has. Memory grows with the square of the number of items,
    time with its cube: 3,706 items take a second, 12,000 half a minute.

    Recall@50 on MovieLens 1M (all 3,706 items, each user's last item as the test, the rest as training): 0.174 with
    seen items kept, 0.318 with seen items left out.

    Args:
        l2: strength of the regularisation; some hundreds, less for sparse data.

    Raises:
        SpecError: so many items do not fit into memory.
    """

    command = "train-match"
    counting = True

    weight: Tensor

    def __init__(self, schema: Schema, *, l2: float = 1000.0) -> None:
        super().__init__()
        if l2 <= 0:
            raise SpecError(f"l2: must be greater than 0, got {l2}")
        self.schema, self.l2 = schema, l2
        self.register_buffer("weight", torch.zeros(0, 0))  # (I, I): from an item that the user has, to a candidate
        resize_on_load(self)

    def count(self, users: Jagged, n_items: int) -> None:
        """Learn from each user's distinct places (int)."""
        needed, free = 3 * 4 * n_items**2, available()
        if free is not None and needed > free:
            raise SpecError(
                f"ease keeps a weight for each pair of items: {n_items:,} items take {needed / 1e9:.1f} GB, "
                f"and {free / 1e9:.1f} GB are free; use item_knn"
            )
        both = torch.cat(list(together(users, n_items)))
        both.diagonal().add_(self.l2)
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(both))
        weight = inverse.div_(-inverse.diagonal().clone())
        weight.diagonal().zero_()
        self.weight = weight

    def score_catalogue(self, batch: Batch) -> Tensor:
        """(B, I), from ``batch.seen`` alone."""
        seen = cast(Jagged, batch.seen)
        if seen.values.numel() * FEW < len(seen) * len(self.weight):
            return F.embedding_bag(seen.values.long(), self.weight, seen.offsets, mode="sum", include_last_offset=True)
        has = self.weight.new_zeros(len(seen), len(self.weight))
        has[seen.rows, seen.values.long()] = 1
        return has @ self.weight
