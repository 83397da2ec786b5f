"""Embeddings of numbers: Gorishniy et al., "On Embeddings for Numerical Features in Tabular Deep Learning", 2022,
https://arxiv.org/abs/2203.05556. All features of a kind are embedded at once."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from rechub_cli.schema import Feature, Schema


def _linear_parameters(features: int, inputs: int, dim: int) -> tuple[nn.Parameter, nn.Parameter]:
    """Weights (N, inputs, dim) and biases (N, dim) of one linear layer for each feature."""
    bound = inputs**-0.5
    weight = torch.empty(features, inputs, dim).uniform_(-bound, bound)
    return nn.Parameter(weight), nn.Parameter(torch.empty(features, dim).uniform_(-bound, bound))


def _linear(values: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """(B, N, inputs) -> (B, N, dim): each feature by its own layer."""
    return torch.baddbmm(bias[:, None], values.transpose(0, 1), weight).transpose(0, 1)


class PiecewiseLinear(nn.Module):
    """Numbers (B, N) -> (B, N, E): how far a number has come through each bin (0 to 1), then a linear layer.

    The first and the last bin go on beyond their edges, so that numbers outside the fitted range keep their order.

    Args:
        bins: for each feature, rising edges in the scale of its input; T + 1 edges make T bins.
        dim: E.
    """

    left: Tensor
    length: Tensor
    lowest: Tensor
    highest: Tensor

    def __init__(self, bins: Sequence[Sequence[float]], dim: int) -> None:
        super().__init__()
        edges = [_edges(feature) for feature in bins]
        width = max(len(feature) for feature in edges) - 1
        # A feature of fewer bins is filled up with bins that are never entered.
        left = torch.zeros(len(edges), width)
        length, lowest, highest = torch.ones_like(left), torch.zeros_like(left), torch.zeros_like(left)
        for index, feature in enumerate(edges):
            row, count = torch.tensor(feature, dtype=torch.float32), len(feature) - 1
            left[index, :count], length[index, :count] = row[:-1], row.diff()
            highest[index, :count] = 1
            lowest[index, 0], highest[index, count - 1] = -math.inf, math.inf
        for name, value in {"left": left, "length": length, "lowest": lowest, "highest": highest}.items():
            self.register_buffer(name, value, persistent=False)
        self.weight, self.bias = _linear_parameters(len(edges), width, dim)

    def forward(self, numbers: Tensor) -> Tensor:
        share = (numbers[:, :, None] - self.left) / self.length
        return _linear(torch.clamp(share, self.lowest, self.highest), self.weight, self.bias)


def _edges(bins: Sequence[float]) -> list[float]:
    """Strictly rising edges in float32, at least two of them."""
    edges = sorted(set(torch.tensor(list(bins), dtype=torch.float32).tolist())) or [0.0]
    return edges if len(edges) > 1 else [edges[0], edges[0] + 1.0]


class Periodic(nn.Module):
    """Numbers (B, N) -> (B, N, E): sines and cosines of learned frequencies, a linear layer, ReLU ("PLR").

    DIFF: the paper searches the deviation of the initial frequencies between 0.01 and 100 for each data set. This one
    suits standardized numbers: 0.01 sees no wave or step of a width below the deviation, 1 blurs straight lines.

    Args:
        features: N.
        dim: E.
        n_frequencies: frequencies of each feature.
        frequency_std: deviation of the initial frequencies (none is beyond three times that).
        relu: False for first-order weights, which may be negative, and of which ReLU would silence half for good.
    """

    def __init__(
        self, features: int, dim: int, *, n_frequencies: int = 48, frequency_std: float = 0.3, relu: bool = True
    ) -> None:
        super().__init__()
        self.relu = relu
        self.frequency = nn.Parameter(torch.empty(features, n_frequencies))
        nn.init.trunc_normal_(self.frequency, std=frequency_std, a=-3 * frequency_std, b=3 * frequency_std)
        self.weight, self.bias = _linear_parameters(features, 2 * n_frequencies, dim)

    def forward(self, numbers: Tensor) -> Tensor:
        angle = 2 * math.pi * self.frequency * numbers[:, :, None]
        vectors = _linear(torch.cat([angle.cos(), angle.sin()], dim=2), self.weight, self.bias)
        return vectors.relu() if self.relu else vectors


class NumberEmbedding(nn.Module):
    """The dense columns of a batch: those with a ``numeric_embedding`` as vectors, the others as they are.

    Args:
        schema: its dense features.
        dim: one width for all, instead of each feature's ``embed_dim``: first-order weights.

    Attributes:
        fields: names of the embedded numbers.
        n_plain: columns that are not embedded.
    """

    plain: Tensor

    def __init__(self, schema: Schema, dim: int | None = None) -> None:
        super().__init__()
        groups: dict[tuple[str, int], list[tuple[int, Feature]]] = {}
        plain: list[int] = []
        column = 0
        for feature in schema.dense:
            if feature.numeric_embedding == "none":
                plain.extend(range(column, column + feature.width))
            else:
                groups.setdefault((feature.numeric_embedding, dim or feature.embed_dim), []).append((column, feature))
            column += feature.width
        self.fields = tuple(feature.name for feature in schema.dense if feature.numeric_embedding != "none")
        self.n_plain = len(plain)
        self.register_buffer("plain", torch.tensor(plain, dtype=torch.int64), persistent=False)
        self.embeddings = nn.ModuleList()
        self._groups: list[tuple[list[int], list[str]]] = []
        for (kind, width), members in groups.items():
            bins = [feature.bins for _, feature in members]
            if kind == "piecewise_linear":
                self.embeddings.append(PiecewiseLinear(bins, width))
            else:
                self.embeddings.append(Periodic(len(members), width, relu=dim is None))
            self._groups.append(([column for column, _ in members], [feature.name for _, feature in members]))

    def forward(self, dense: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """(B, D) -> vectors (B, E) by name, and the plain columns (B, n_plain)."""
        if not self._groups:
            return {}, dense
        vectors: dict[str, Tensor] = {}
        for embedding, (columns, names) in zip(self.embeddings, self._groups, strict=True):
            vectors.update(zip(names, embedding(dense[:, columns]).unbind(1), strict=True))
        return vectors, dense.index_select(1, self.plain)
