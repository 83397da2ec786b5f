"""Activations by name, and Dice, the one of DIN."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from rechub_cli.errors import SpecError
from rechub_cli.nn.norm import BatchNorm

Activation = Literal["relu", "leaky_relu", "prelu", "gelu", "silu", "tanh", "sigmoid", "dice"]


class Dice(nn.Module):
    """``x`` where the input is likely, ``alpha * x`` where it is not; the batch says what is likely.

    Zhou et al., KDD 2018, https://arxiv.org/abs/1706.06978, section 5.3.
    Shape: (B, C) -> (B, C). ``mask``, bool (B,): the rows that have a say in what is likely.
    """

    def __init__(self, dim: int, *, eps: float = 1e-8) -> None:
        super().__init__()
        self.norm = BatchNorm(dim, eps=eps, affine=False)
        self.alpha = nn.Parameter(torch.zeros(dim))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        likely = torch.sigmoid(self.norm(x, mask))
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


def masked(layer: nn.Module, mask: Tensor | None) -> Callable[..., Tensor]:
    """The layer; where it goes by statistics of its rows, by those in the mask, bool (B,)."""
    return functools.partial(layer, mask=mask) if isinstance(layer, Dice) and mask is not None else layer
