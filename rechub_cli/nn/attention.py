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
from rechub_cli.nn.pairs import Pairs


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
        of_target, of_value, of_difference, of_product = self.first.weight.chunk(4, dim=1)  # (H, E) each
        by_row = F.linear(target, of_target + of_difference, self.first.bias)  # (B, H)
        weight = torch.stack([(of_value - of_difference).t(), of_product.t()])  # (2, E, H)
        pairs = Pairs(target, history)
        hidden = masked(self.activation, pairs.mask)(pairs.linear(by_row, weight))  # (N, H)
        return pairs.weighted_sum(self.rest(hidden, mask=pairs.mask))
