"""A GRU over jagged histories."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence


class JaggedGRU(nn.Module):
    """Gated recurrent units (Cho et al., 2014, https://arxiv.org/abs/1406.1078) over rows of any lengths.

    Nothing is padded: a step takes the rows that go on. Float32 under autocast too.
    Shape: events (N, E), offsets (B + 1) of their rows -> (N, hidden_dim), float32: the state after each event.
    """

    def __init__(self, dim: int, hidden_dim: int, *, n_layers: int, dropout: float) -> None:
        super().__init__()
        self.gru = nn.GRU(dim, hidden_dim, n_layers, dropout=dropout if n_layers > 1 else 0.0)
        for name, parameter in self.gru.named_parameters():
            if name.startswith("weight"):
                for gate in parameter.chunk(3):
                    nn.init.xavier_uniform_(gate) if "_ih_" in name else nn.init.orthogonal_(gate)
            else:
                nn.init.zeros_(parameter)

    def forward(self, events: Tensor, offsets: Tensor) -> Tensor:
        with torch.autocast(events.device.type, enabled=False):
            events = events.float()
            if not events.shape[0]:
                return events.new_zeros(0, self.gru.hidden_size)
            steps, places = by_time(offsets)
            packed = torch.empty_like(events).index_copy(0, places, events)
            states, _ = self.gru(PackedSequence(packed, steps.cpu()))
            return states.data[places]


def by_time(offsets: Tensor) -> tuple[Tensor, Tensor]:
    """How many rows have a first, second, ... event; and each event's place (N,) where all first ones come before all
    second ones, longer rows before shorter ones."""
    lengths = offsets.diff()
    order = torch.argsort(lengths, descending=True, stable=True)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order), device=order.device)
    rows = torch.repeat_interleave(lengths)
    time = torch.arange(len(rows), device=offsets.device) - offsets[rows]
    steps = torch.bincount(time)
    return steps, (steps.cumsum(0) - steps)[time] + rank[rows]
