"""Linear layers: over several inputs at once, and the first-order part of a ranking model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rechub_cli.batch import Batch
from rechub_cli.nn.embedding import Embedded, FeatureEmbedding
from rechub_cli.nn.looked_up import LookedUp
from rechub_cli.nn.narrow import narrow_linear
from rechub_cli.nn.norm import BatchNorm
from rechub_cli.nn.product import linear
from rechub_cli.schema import Schema


def concat_linear(inputs: Sequence[Tensor | LookedUp], weight: Tensor, bias: Tensor | None) -> Tensor:
    """``F.linear`` of the concatenation of the inputs (B, C1), (B, C2), ..., which is never made."""
    if isinstance(inputs[0], LookedUp):
        return inputs[0].linear(weight, bias, cast("Tensor", inputs[1]))
    parts = [part for part in inputs if isinstance(part, Tensor) and part.shape[1]]
    if len(parts) == 1:
        return linear(parts[0], weight, bias)
    weights = weight.split([part.shape[1] for part in parts], dim=1)
    output = linear(parts[0], weights[0], bias)
    for part, columns in zip(parts[1:], weights[1:], strict=True):
        output.addmm_(part.to(output.dtype), columns.t().to(output.dtype))
    return output


class ConcatLinear(nn.Linear):
    """A linear layer over the concatenation of its inputs.

    Weights start as Glorot and Bengio's normal (2010), biases at zero.
    Shape: (B, C1), (B, C2), ... with C1 + C2 + ... = in_features -> (B, out_features).
    """

    def reset_parameters(self) -> None:
        nn.init.xavier_normal_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, *inputs: Tensor) -> Tensor:
        return concat_linear(inputs, self.weight, self.bias)


class NormedLinear(ConcatLinear):
    """A ConcatLinear and its batch norm, and a ReLU where asked for; in evaluation layer and norm are one product.

    It has no bias, because the norm has one.
    Shape: (B, C1), (B, C2), ... with C1 + C2 + ... = in_features -> (B, out_features).
    """

    def __init__(self, in_features: int, out_features: int, *, relu: bool = False) -> None:
        super().__init__(in_features, out_features, bias=False)
        self.norm = BatchNorm(out_features, relu=relu)

    def forward(self, *inputs: Tensor) -> Tensor:
        if self.training:
            return self.norm(super().forward(*inputs))
        scale, shift = self.norm.scale_and_shift()
        values = concat_linear(inputs, self.weight * scale[:, None], shift)
        return values.relu_() if self.norm.relu else values


class LastLinear(ConcatLinear):
    """The last layer: a ConcatLinear in float32 whatever the precision of the layers before it."""

    def forward(self, *inputs: Tensor) -> Tensor:
        if len(inputs) == 1 and (narrow := narrow_linear(inputs[0], self.weight, self.bias)) is not None:
            return narrow
        with torch.autocast(inputs[0].device.type, enabled=False):
            return super().forward(*(part.float() for part in inputs))


class LogitHead(LastLinear):
    """The layer of the logits, which in bf16 would have three digits.

    Its weights start as torch.nn.Linear's, uniform and several times below ConcatLinear's: first logits near zero spare
    the first epoch the work of forgetting them.
    """

    def reset_parameters(self) -> None:
        nn.Linear.reset_parameters(self)
        if self.bias is not None:
            nn.init.zeros_(self.bias)


class FirstOrder(nn.Module):
    """The linear part of a model: one weight for each id, one for each number, a bias.

    A pooled sequence counts as the pooled weights of its ids. ``like``: what another embedding of the
    schema made of the same batch, whose work is then shared.
    Shape: Batch of B rows -> (B, n_tasks), float32.
    """

    def __init__(self, schema: Schema, n_tasks: int) -> None:
        super().__init__()
        self.n_tasks = n_tasks
        self.ids = FeatureEmbedding(schema, dim=n_tasks)
        self.numbers = nn.Parameter(torch.zeros(n_tasks, self.ids.n_dense))
        self.bias = nn.Parameter(torch.zeros(n_tasks))

    def forward(self, batch: Batch, like: Embedded | None = None) -> Tensor:
        ids, dense = self.ids.total(batch, like)
        with torch.autocast(ids.device.type, enabled=False):
            return ids + F.linear(dense, self.numbers, self.bias)
