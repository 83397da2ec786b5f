"""A GRU over jagged histories."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence


class JaggedGRU(nn.GRU):
    """Gated recurrent units (Cho et al., 2014, https://arxiv.org/abs/1406.1078) over rows of any lengths.

    Nothing is padded: a step takes the rows that go on. Float32 under autocast too. On a CPU the steps are taken here:
    the gradient of torch's own GRU over packed rows fills and adds all N events once for every step.
    Shape: events (N, input_size), offsets (B + 1) of their rows -> (N, hidden_size): the state after each event.
    """

    def reset_parameters(self) -> None:
        for name, parameter in self.named_parameters():
            if name.startswith("bias"):
                nn.init.zeros_(parameter)
            for gate in parameter.chunk(3) if name.startswith("weight") else ():
                nn.init.xavier_uniform_(gate) if "_ih_" in name else nn.init.orthogonal_(gate)

    def forward(self, events: Tensor, offsets: Tensor) -> Tensor:  # type: ignore[override]
        with torch.autocast(events.device.type, enabled=False):
            events = events.float()
            if not events.shape[0]:
                return events.new_zeros(0, self.hidden_size)
            steps, places = by_time(offsets)
            ordered = torch.empty_like(events).index_copy(0, places, events)
            if ordered.device.type != "cpu":
                return super().forward(PackedSequence(ordered, steps.cpu()))[0].data[places]
            for layer in range(self.num_layers):
                if layer:
                    ordered = F.dropout(ordered, self.dropout, self.training)
                ordered = self._layer(ordered, steps.tolist(), layer)
            return ordered[places]

    def _layer(self, ordered: Tensor, steps: list[int], layer: int) -> Tensor:
        weights = [getattr(self, f"{kind}_l{layer}") for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
        state, states = ordered.new_zeros(steps[0], self.hidden_size), []
        for rows in ordered.split(steps):
            state = torch.gru_cell(rows, state[: len(rows)], *weights)
            states.append(state)
        return torch.cat(states)


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
