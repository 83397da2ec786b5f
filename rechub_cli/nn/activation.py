"""Activations by name."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Literal, get_args

from torch import Tensor, nn

from rechub_cli.errors import SpecError
from rechub_cli.nn.dice import Dice

Activation = Literal["relu", "leaky_relu", "prelu", "gelu", "silu", "tanh", "sigmoid", "dice"]


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
