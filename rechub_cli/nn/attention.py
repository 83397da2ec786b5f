"""Attention of a target over the row's own history, without padding."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rechub_cli.batch import Jagged
from rechub_cli.errors import SpecError
from rechub_cli.nn.activation import activation as make_activation
from rechub_cli.nn.activation import masked
from rechub_cli.nn.linear import ConcatLinear, LastLinear
from rechub_cli.nn.mlp import MLP


class TargetAttention(nn.Module):
    """DIN's local activation unit: history values summed, each weighed by its match with the target.

    Zhou et al., KDD 2018, https://arxiv.org/abs/1706.06978. A small MLP sees [target, value, target - value,
    target * value]; the weights are not normalised, as in the paper. Only the values that exist are
    computed, so a row's length costs the others nothing; the target's share of the first layer is
    computed once for each row. An empty history gives zeros.
    Shape: target (B, E), history of N values (N, E) -> (B, E).
    Raises: SpecError without a layer that has units.
    """

    def __init__(self, dim: int, hidden_dims: Sequence[int], *, activation: str = "dice") -> None:
        super().__init__()
        if not hidden_dims or min(hidden_dims) < 1:
            raise SpecError(f"attention_hidden_dims: needs at least one layer of units, got {list(hidden_dims)}")
        first, *rest = hidden_dims
        self.first = ConcatLinear(4 * dim, first)
        self.activation = make_activation(activation, first)
        self.rest = MLP(first, rest, 1, activation=activation, last=LastLinear)

    def forward(self, target: Tensor, history: Jagged) -> Tensor:
        values, rows, mask = history.values, history.rows, history.mask
        of_target, of_value, of_difference, of_product = self.first.weight.chunk(4, dim=1)
        by_row = F.linear(target, of_target + of_difference, self.first.bias)  # (B, H)
        pair = torch.cat([values, target.index_select(0, rows) * values], dim=1)  # (N, 2E)
        by_value = F.linear(pair, torch.cat([of_value - of_difference, of_product], dim=1))  # (N, H)
        hidden = masked(self.activation, mask)(by_value + by_row.index_select(0, rows))
        weights = self.rest(hidden, mask=mask)  # (N, 1), float32
        if mask is not None:
            weights = weights * mask[:, None]
        return torch.zeros_like(target).index_add_(0, rows, weights * values)
