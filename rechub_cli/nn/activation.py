"""Activations by name, and Dice, the one of DIN."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from rechub_cli.errors import SpecError
from rechub_cli.nn.norm import BatchNorm

Activation = Literal["relu", "leaky_relu", "prelu", "gelu", "silu", "tanh", "sigmoid", "dice"]


class Dice(nn.Module):
    """``x`` where the input is likely, ``alpha * x`` where it is not; the batch says what is likely.

    Zhou et al., KDD 2018, https://arxiv.org/abs/1706.06978, section 5.3.
    Shape: (B, C) -> (B, C).
    """

    def __init__(self, dim: int, *, eps: float = 1e-8) -> None:
        super().__init__()
        self.norm = BatchNorm(dim, eps=eps, affine=False)
        self.alpha = nn.Parameter(torch.zeros(dim))

    def forward(self, x: Tensor) -> Tensor:
        likely = torch.sigmoid(self.norm(x))
        alpha = self.alpha.to(likely.dtype)  # else bf16 would be widened
        return x * torch.addcmul(alpha, 1 - alpha, likely)


def activation(name: str, dim: int) -> nn.Module:
    """The activation called ``name`` for inputs (B, dim).

    Raises: SpecError if there is none of that name.
    """
    match name:
        case "relu":
            return nn.ReLU(inplace=True)
        case "leaky_relu":
            return nn.LeakyReLU(0.01)
        case "prelu":
            return nn.PReLU(dim)
        case "gelu":
            return nn.GELU()
        case "silu":
            return nn.SiLU()
        case "tanh":
            return nn.Tanh()
        case "sigmoid":
            return nn.Sigmoid()
        case "dice":
            return Dice(dim)
    raise SpecError(f"no activation called {name!r}; known: {', '.join(get_args(Activation))}")
