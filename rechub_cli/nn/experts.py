"""Several networks of one shape as one: the experts, gates and towers of multi-task models.

Shape legend: B rows, C input columns, N networks, H units, T tasks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from rechub_cli.errors import SpecError
from rechub_cli.nn.activation import activation as make_activation
from rechub_cli.nn.dropout import Dropout
from rechub_cli.nn.linear import concat_linear
from rechub_cli.nn.norm import BatchNorm


class ParallelLinear(nn.Module):
    """N linear layers as one batched product.

    Each starts as Glorot and Bengio's normal (2010), biases at zero; with ``batch_norm`` the norm's shift is the bias,
    ``relu`` may follow, and in evaluation layer and norm are one product.
    Shape: inputs (B, C1), (B, C2), ... that all layers share, or (B, N, C), one for each -> (B, N, H).
    """

    def __init__(
        self,
        n: int,
        in_dim: int,
        out_dim: int,
        *,
        bias: bool = True,
        batch_norm: bool = False,
        relu: bool = False,
    ) -> None:
        super().__init__()
        self.n, self.out_dim = n, out_dim
        self.weight = nn.Parameter(torch.empty(n, out_dim, in_dim))
        nn.init.normal_(self.weight, std=math.sqrt(2 / (in_dim + out_dim)))
        self.bias = nn.Parameter(torch.zeros(n * out_dim)) if bias and not batch_norm else None
        self.norm = BatchNorm(n * out_dim, relu=relu) if batch_norm else None

    def forward(self, *inputs: Tensor) -> Tensor:
        if self.norm is None:
            return self._product(inputs, self.weight, self.bias)
        if self.training:
            values = self._product(inputs, self.weight, None)
            return self.norm(values.flatten(1)).view_as(values)
        scale, shift = self.norm.scale_and_shift()
        values = self._product(inputs, self.weight * scale.view(self.n, self.out_dim, 1), shift)
        return values.relu_() if self.norm.relu else values

    def _product(self, inputs: Sequence[Tensor], weight: Tensor, bias: Tensor | None) -> Tensor:
        if inputs[0].dim() == 2:
            flat = concat_linear(inputs, weight.flatten(0, 1), bias)
            return flat.unflatten(1, (self.n, self.out_dim))
        values = inputs[0].transpose(0, 1).contiguous()  # bmm would copy strided bf16 three times as slowly
        if bias is None:
            return torch.bmm(values, weight.transpose(1, 2)).transpose(0, 1).contiguous()
        return torch.baddbmm(bias.view(self.n, 1, -1), values, weight.transpose(1, 2)).transpose(0, 1).contiguous()


class ParallelMLP(nn.Module):
    """N multi-layer perceptrons of one shape, each with weights of its own.

    Hidden layers (linear, batch norm, activation, dropout), then a linear output if asked for, which is float32 under
    autocast too.
    Shape: inputs (B, C1), (B, C2), ... that all share, or (B, N, C) -> (B, N, out_dim), or the last hidden width.
    Raises: SpecError where a value makes no layer.
    """

    def __init__(
        self,
        n: int,
        in_dim: int,
        hidden_dims: Sequence[int],
        out_dim: int | None = None,
        *,
        activation: str = "relu",
        batch_norm: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if any(dim < 1 for dim in hidden_dims):
            raise SpecError(f"hidden_dims: every layer needs at least one unit, got {list(hidden_dims)}")
        if not 0 <= dropout < 1:
            raise SpecError(f"dropout: the share of dropped values is at least 0 and less than 1, got {dropout}")
        self.n, width = n, in_dim
        self.layers, self.activations = nn.ModuleList(), nn.ModuleList()
        normed_relu = batch_norm and activation == "relu"
        for dim in hidden_dims:
            self.layers.append(ParallelLinear(n, width, dim, batch_norm=batch_norm, relu=normed_relu))
            activate = nn.Identity() if normed_relu else make_activation(activation, n * dim)
            if isinstance(activate, nn.ReLU):
                activate.inplace = False  # in place on a view, its gradient would be copied three times
            self.activations.append(activate)
            width = dim
        self.dropout = Dropout(dropout) if dropout else None
        self.output = None if out_dim is None else ParallelLinear(n, width, out_dim)
        self.out_dim = width if out_dim is None else out_dim

    def last_parameters(self) -> list[nn.Parameter]:
        """The weights of the last layer."""
        layer = self.output if self.output is not None else self.layers[-1]
        assert isinstance(layer, ParallelLinear)
        return [layer.weight]

    def forward(self, *inputs: Tensor) -> Tensor:
        for layer, activate in zip(self.layers, self.activations, strict=True):
            values = layer(*inputs)
            if not isinstance(activate, nn.Identity):
                values = activate(values.flatten(1)).view_as(values)
            inputs = (values if self.dropout is None else self.dropout(values),)
        if self.output is None:
            return inputs[0]
        with torch.autocast(inputs[0].device.type, enabled=False):
            return self.output(*(part.float() for part in inputs))


class Gates(nn.Module):
    """For each of N mixtures, how much of each expert it takes: softmax of a linear layer without bias or norm.

    Shape: inputs (B, C1), ... that all gates share, or (B, N, C) -> (B, N, experts), rows that add up to 1.

    Args:
        hidden_dims: layers with ReLU before the linear one.
        mask: bool (N, experts), False where a mixture takes nothing of an expert.
        alone: each mixture takes from one expert only, and how much of it is the logit's sigmoid.
    """

    mask: Tensor | None

    def __init__(
        self,
        n: int,
        in_dim: int,
        experts: int,
        *,
        hidden_dims: Sequence[int] = (),
        mask: Tensor | None = None,
        alone: bool = False,
    ) -> None:
        super().__init__()
        self.alone = alone
        self.hidden = ParallelMLP(n, in_dim, hidden_dims) if hidden_dims else None
        width = in_dim if self.hidden is None else self.hidden.out_dim
        self.linear = ParallelLinear(n, width, experts, bias=False)
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, *inputs: Tensor) -> Tensor:
        logits = self.linear(*inputs) if self.hidden is None else self.linear(self.hidden(*inputs))
        if self.mask is not None:
            logits = logits.masked_fill(~self.mask, -math.inf)
        return logits.sigmoid() if self.alone else logits.softmax(dim=2)


def mix(gates: Tensor, experts: Tensor) -> Tensor:
    """Gates (B, T, N) and experts (B, N, H) -> mixtures (B, T, H)."""
    return torch.bmm(gates.to(experts.dtype), experts)


def named_gates(prefix: str, names: Sequence[str], gates: Tensor) -> dict[str, Tensor]:
    """Gates (B, T, N) as extras: ``<prefix>_<name>_<expert>``, (B,) each."""
    values = gates.detach().float()
    return {
        f"{prefix}_{name}_{expert}": values[:, place, expert]
        for place, name in enumerate(names)
        for expert in range(values.shape[2])
    }
