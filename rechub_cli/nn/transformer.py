"""A transformer over jagged histories, in which no event sees a later one."""

from __future__ import annotations

import contextlib

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rechub_cli.errors import SpecError
from rechub_cli.nn.causal import Causal
from rechub_cli.nn.dropout import Dropout

# Narrower products gain nothing from bfloat16 on a CPU, where each batch of histories is a new shape to prepare for.
NARROW = 128


class CausalBlock(nn.Module):
    """One block of a transformer: self-attention over the events so far, then two pointwise layers, each added.

    Vaswani et al., 2017, https://arxiv.org/abs/1706.03762. ``norm_first``: each part sees normalised values and adds to
    the values as they are; otherwise the sum is normalised.
    DIFF: dropout falls on what attention gives, not on its weights: fused attention keeps no weights.
    Shape: N events (N, E), and which of them see which -> (N, E).
    """

    def __init__(self, dim: int, n_heads: int, hidden_dim: int, *, dropout: float, norm_first: bool) -> None:
        super().__init__()
        if n_heads < 1 or dim % n_heads:
            raise SpecError(f"n_heads: {n_heads} heads do not divide the item's embed_dim of {dim}")
        self.n_heads, self.norm_first = n_heads, norm_first
        self.norm_attention, self.norm_pointwise = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.queries_keys_values = nn.Linear(dim, 3 * dim)
        self.attended = nn.Linear(dim, dim)
        widen, narrow = nn.Linear(dim, hidden_dim), nn.Linear(hidden_dim, dim)
        self.pointwise = nn.Sequential(widen, nn.ReLU(), Dropout(dropout), narrow)
        self.dropout = Dropout(dropout)
        for layer in (self.queries_keys_values, self.attended, widen, narrow):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, events: Tensor, causal: Causal) -> Tensor:
        if self.norm_first:
            events = events + self.dropout(self._attend(self.norm_attention(events), causal))
            return events + self.dropout(self.pointwise(self.norm_pointwise(events)))
        events = self.norm_attention(events + self.dropout(self._attend(events, causal)))
        return self.norm_pointwise(events + self.dropout(self.pointwise(events)))

    def _attend(self, events: Tensor, causal: Causal) -> Tensor:
        packed = self.queries_keys_values(events)  # (N, 3E)
        if packed.is_cpu:
            packed = packed.float()  # torch's fused attention in bfloat16 takes three times as long backwards there
        return self.attended(causal.attend(packed, self.n_heads))


class CausalEncoder(nn.Module):
    """A learned vector for each place of the history, blocks, and a last norm where the blocks have none.

    Places are counted from the oldest event, so that a state does not change when later events come; or, with
    ``from_newest``, from the newest, which always has the last place.
    Shape: events (N, E), offsets (B + 1) of their rows -> (N, E), float32: the state after each event.
    """

    def __init__(
        self,
        dim: int,
        max_len: int,
        *,
        n_blocks: int,
        n_heads: int,
        hidden_dim: int,
        dropout: float,
        norm_first: bool,
        std: float,
        from_newest: bool = False,
    ) -> None:
        super().__init__()
        self.from_newest = from_newest
        self.positions = nn.Parameter(torch.randn(max_len, dim) * std)
        self.dropout = Dropout(dropout)
        self.blocks = nn.ModuleList(
            CausalBlock(dim, n_heads, hidden_dim, dropout=dropout, norm_first=norm_first) for _ in range(n_blocks)
        )
        self.norm = nn.LayerNorm(dim)

    def forward(self, events: Tensor, offsets: Tensor) -> Tensor:
        causal = Causal(offsets, events.shape[0])
        shift = len(self.positions) - causal.lengths[causal.rows] if self.from_newest else 0
        narrow = events.device.type == "cpu" and events.shape[1] < NARROW
        with torch.autocast("cpu", enabled=False) if narrow else contextlib.nullcontext():
            states = self.dropout(events.float() + F.embedding(causal.order + shift, self.positions))
            for block in self.blocks:
                states = block(states, causal)
            return self.norm(states.float())
