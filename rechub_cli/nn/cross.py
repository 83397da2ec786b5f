"""Cross networks: explicit feature crosses of bounded degree.

Shape legend: B rows, W input width, L layers, K experts, R rank.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rechub_cli.nn.inputs import at_least_one
from rechub_cli.nn.linear import ConcatLinear


class CrossNet(nn.Module):
    """``x' = x0 (x . w) + b + x``, L times: the cross network of DCN.

    Wang et al., ADKDD 2017, https://arxiv.org/abs/1708.05123. Each layer only adds a multiple of x0
    and a constant: ``x_l = a_l x0 + c_l`` with one number a_l for each row, so one product
    ``x0 W`` (B, L) and L steps on (B,) give the very same result as L passes over (B, W).
    Shape: (B, W) -> (B, W).
    Raises: SpecError without a layer.
    """

    def __init__(self, dim: int, n_layers: int) -> None:
        super().__init__()
        at_least_one(n_cross_layers=n_layers)
        self.weight = nn.Parameter(torch.empty(n_layers, dim))
        self.bias = nn.Parameter(torch.zeros(n_layers, dim))
        nn.init.normal_(self.weight, std=(2 / (dim + 1)) ** 0.5)

    def forward(self, x: Tensor) -> Tensor:
        projected = x @ self.weight.t()  # (B, L)
        constants = self.bias.cumsum(0)  # (L, W): c_1 .. c_L
        scale = torch.ones_like(projected[:, :1])  # (B, 1): a_0
        for layer in range(len(self.weight)):
            step = scale * projected[:, layer : layer + 1]
            if layer:
                step = step + constants[layer - 1] @ self.weight[layer]
            scale = scale + step
        return torch.addcmul(constants[-1], scale, x)


class CrossNetV2(nn.Module):
    """``x' = x0 * (W x + b) + x``, L times: the full-rank cross network of DCN-V2.

    Wang et al., WWW 2021, https://arxiv.org/abs/2008.13535, equation 1. Weights start as torch.nn.Linear's, uniform:
    crosses that are larger at first multiply into noise, which the first epoch must undo.
    Shape: (B, W) -> (B, W).
    Raises: SpecError without a layer.
    """

    def __init__(self, dim: int, n_layers: int) -> None:
        super().__init__()
        at_least_one(n_cross_layers=n_layers)
        layers = [ConcatLinear(dim, dim) for _ in range(n_layers)]
        for layer in layers:
            nn.init.uniform_(layer.weight, -(dim**-0.5), dim**-0.5)
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        crossed = x
        for layer in self.layers:
            crossed = torch.addcmul(crossed, x, layer(crossed).to(x.dtype))
        return crossed


class _LowRankCross(nn.Module):
    """One low-rank cross layer; with several experts a gated mixture of them."""

    def __init__(self, dim: int, rank: int, n_experts: int) -> None:
        super().__init__()
        self.n_experts, self.rank = n_experts, rank
        self.down = nn.Parameter(torch.empty(n_experts * rank, dim))  # V of every expert
        self.up = nn.Parameter(torch.empty(n_experts * rank, dim))  # U of every expert
        self.bias = nn.Parameter(torch.zeros(dim))
        for weight in (self.down, self.up):
            nn.init.normal_(weight, std=(2 / (dim + rank)) ** 0.5)
        if n_experts > 1:
            self.core = nn.Parameter(torch.empty(n_experts, rank, rank))  # C of every expert
            nn.init.normal_(self.core, std=rank**-0.5)
            self.gate = nn.Linear(dim, n_experts, bias=False)
            nn.init.xavier_normal_(self.gate.weight)

    def forward(self, x0: Tensor, x: Tensor) -> Tensor:
        inner = x @ self.down.t()  # (B, K * R)
        if self.n_experts > 1:
            inner = inner.tanh().unflatten(1, (self.n_experts, self.rank))
            inner = torch.einsum("bkr,kqr->bkq", inner, self.core).tanh()
            gate = self.gate(x).softmax(1)  # sums to one, so x0 and the bias leave the sum
            inner = (inner * gate.unsqueeze(2)).flatten(1)
        return torch.addcmul(x, x0, (inner @ self.up).to(x.dtype) + self.bias)


class LowRankCrossNet(nn.Module):
    """DCN-V2's cross network with W = U V', rank R, or a gated mixture of K such experts.

    Wang et al., WWW 2021, https://arxiv.org/abs/2008.13535, equations 2 and 3. One expert is the plain
    low-rank form; several use tanh for both nonlinearities, a softmax gate, and one bias for all.
    All experts are one product down and one up.
    Shape: (B, W) -> (B, W).
    Raises: SpecError without a layer, a rank or an expert.
    """

    def __init__(self, dim: int, n_layers: int, *, rank: int, n_experts: int = 1) -> None:
        super().__init__()
        at_least_one(n_cross_layers=n_layers, low_rank=rank, num_experts=n_experts)
        self.layers = nn.ModuleList([_LowRankCross(dim, rank, n_experts) for _ in range(n_layers)])

    def forward(self, x: Tensor) -> Tensor:
        crossed = x
        for layer in self.layers:
            crossed = layer(x, crossed)
        return crossed
