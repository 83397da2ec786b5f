"""What most users have: the baseline that every other model has to beat."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rechub_cli.batch import Batch, Jagged
from rechub_cli.nn.counts import resize_on_load
from rechub_cli.schema import Schema


class Popular(nn.Module):
    """Items by the number of users who have them; the same list for everybody.

    Recall@50 on MovieLens 1M (all 3,706 items, each user's last item as the test, the rest as training): 0.104 with
    seen items kept, 0.140 with seen items left out.
    """

    command = "train-match"
    counting = True

    users_of: Tensor

    def __init__(self, schema: Schema) -> None:
        super().__init__()
        self.schema = schema
        self.register_buffer("users_of", torch.zeros(0))
        resize_on_load(self)

    def count(self, users: Jagged, n_items: int) -> None:
        """Learn from each user's distinct places (int)."""
        self.users_of = torch.bincount(users.values, minlength=n_items).float()

    def score_catalogue(self, batch: Batch) -> Tensor:
        """(B, I)"""
        return self.users_of.expand(len(batch), -1)
