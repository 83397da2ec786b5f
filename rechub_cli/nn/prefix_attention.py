"""Attention of a query over the events before it, all queries of a history at once."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from rechub_cli.nn.events import Prefixes

BLOCK_PAIRS = 2**17  # pairs of a query and an event whose layer of units is held at once


class PrefixAttention(nn.Module):
    """The events of each prefix summed, each weighed by ``v sigmoid(query + key)``; the weights are not normalised.

    Only pairs that exist are computed. Where there are many, a block of queries at a time, and again for the gradient:
    memory does not grow with the square of the history.
    Shape: queries (Q, H), keys (N, H), values (N, E), Q prefixes -> (Q, E), float32; zeros for an empty prefix.
    """

    def __init__(self, hidden_dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(hidden_dim))
        nn.init.normal_(self.weight, std=hidden_dim**-0.5)

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor, prefixes: Prefixes) -> Tensor:
        with torch.autocast(values.device.type, enabled=False):
            queries, keys, values = queries.float(), keys.float(), values.float()
            parts = min(max(len(prefixes.lengths), 1), 1 + int(prefixes.lengths.sum()) // BLOCK_PAIRS)
            if parts == 1:
                return self._attend(queries, keys, values, prefixes)
            blocks = zip(queries.chunk(parts), prefixes.split(parts), strict=True)
            return torch.cat(
                [checkpoint(self._attend, block, keys, values, part, use_reentrant=False) for block, part in blocks]
            )

    def _attend(self, queries: Tensor, keys: Tensor, values: Tensor, prefixes: Prefixes) -> Tensor:
        events = prefixes.events()
        units = keys.index_select(0, events.values) + queries.index_select(0, events.rows)
        weights = units.sigmoid() @ self.weight
        return F.embedding_bag(
            events.values, values, events.offsets, mode="sum", per_sample_weights=weights, include_last_offset=True
        )
