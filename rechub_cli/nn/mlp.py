"""The multi-layer perceptron of the deep parts."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from rechub_cli.errors import SpecError
from rechub_cli.nn.activation import activation as make_activation
from rechub_cli.nn.activation import masked
from rechub_cli.nn.dropout import Dropout
from rechub_cli.nn.linear import ConcatLinear, LastLinear, LogitHead, NormedLinear


class MLP(nn.Module):
    """Hidden layers (linear, batch norm, activation, dropout), then a linear output if asked for, by default of logits.

    The inputs count as one concatenated input. The output is float32 under autocast too.
    Shape: (B, C1), (B, C2), ... -> (B, out_dim), or (B, hidden_dims[-1]) without an output layer.
    Raises: SpecError where a value makes no layer.
    """

    def __init__(
        self,
        in_dim: int,
        hidden_dims: Sequence[int],
        out_dim: int | None = None,
        *,
        activation: str = "relu",
        batch_norm: bool = False,
        dropout: float = 0.0,
        last: type[LastLinear] = LogitHead,
    ) -> None:
        super().__init__()
        if any(dim < 1 for dim in hidden_dims):
            raise SpecError(f"hidden_dims: every layer needs at least one unit, got {list(hidden_dims)}")
        if not 0 <= dropout < 1:
            raise SpecError(f"dropout: the share of dropped values is at least 0 and less than 1, got {dropout}")
        hidden: list[nn.Module] = []
        width = in_dim
        for dim in hidden_dims:
            normed_relu = batch_norm and activation == "relu"
            hidden.append(NormedLinear(width, dim, relu=normed_relu) if batch_norm else ConcatLinear(width, dim))
            hidden.append(nn.Identity() if normed_relu else make_activation(activation, dim))
            if dropout:
                hidden.append(Dropout(dropout))
            width = dim
        self.hidden = nn.ModuleList(hidden)
        self.output = None if out_dim is None else last(width, out_dim)
        self.out_dim = width if out_dim is None else out_dim

    def forward(self, *inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """``mask``, bool (B,): the rows that have a say in what Dice takes for likely."""
        for layer in self.hidden:
            inputs = (masked(layer, mask)(*inputs),)
        if self.output is None:
            return inputs[0] if len(inputs) == 1 else torch.cat(inputs, dim=1)
        return self.output(*inputs)
