"""The compiled loops of Dice as functions of tensors: contiguous x (B, C), float32 or bfloat16, on the CPU."""

from __future__ import annotations

import torch
from torch import Tensor

from rechub_cli.kernels import loops

_BLOCK = 128  # rows whose sums are made by themselves


def statistics(
    x: Tensor, running_mean: Tensor, running_var: Tensor, *, eps: float, momentum: float
) -> tuple[Tensor, Tensor]:
    """Mean and 1 / deviation (C,) of at least two rows; the running statistics (C,) move by ``momentum``."""
    library = loops.library()
    assert library is not None
    part = torch.empty(-(-len(x) // _BLOCK), 2, library.dice_period(x.shape[1]))
    mean, scale = torch.empty_like(running_mean), torch.empty_like(running_mean)
    library.dice_statistics(
        *(*_values(x), _BLOCK, part.data_ptr(), eps, momentum, running_mean.data_ptr(), running_var.data_ptr()),
        *(mean.data_ptr(), scale.data_ptr(), torch.get_num_threads()),
    )
    return mean, scale


def forward(x: Tensor, mean: Tensor, scale: Tensor, alpha: Tensor) -> Tensor:
    """``x * (alpha + (1 - alpha) * sigmoid((x - mean) * scale))``, like x."""
    library = loops.library()
    assert library is not None
    near, out = torch.empty(3, library.dice_period(x.shape[1])), torch.empty_like(x)
    library.dice_forward(
        *(*_values(x), mean.data_ptr(), scale.data_ptr(), alpha.data_ptr(), _BLOCK, near.data_ptr(), out.data_ptr()),
        torch.get_num_threads(),
    )
    return out


def gradients(
    x: Tensor, mean: Tensor, scale: Tensor, alpha: Tensor, gradient: Tensor, *, settled: bool
) -> tuple[Tensor, Tensor]:
    """The gradients of x, like x, and of alpha; ``settled``: mean and scale are not those of x itself."""
    library = loops.library()
    assert library is not None
    period = library.dice_period(x.shape[1])
    near, part = torch.empty(5, period), torch.empty(-(-len(x) // _BLOCK), 3, period)
    of_x, of_alpha = torch.empty_like(x), torch.empty_like(alpha)
    library.dice_gradients(
        *(*_values(x), mean.data_ptr(), scale.data_ptr(), alpha.data_ptr(), gradient.data_ptr(), settled, _BLOCK),
        *(near.data_ptr(), part.data_ptr(), of_x.data_ptr(), of_alpha.data_ptr(), torch.get_num_threads()),
    )
    return of_x, of_alpha


def _values(x: Tensor) -> tuple[int, bool, int, int]:
    return x.data_ptr(), x.dtype == torch.bfloat16, x.shape[0], x.shape[1]
