"""The compiled loops of narrow linear layers as functions of tensors: contiguous, on the CPU, weights float32."""

from __future__ import annotations

import torch
from torch import Tensor

from rechub_cli.kernels import loops

FEW = 4  # outputs, as in narrow.c
_BLOCK = 128  # rows whose part of the weight's gradient is summed by itself


def forward(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """float32 (B, outputs): x (B, inputs), float32 or bfloat16, by a float32 weight, and the bias."""
    library = loops.library()
    assert library is not None
    out, offset = torch.empty(len(x), len(weight)), None if bias is None else bias.data_ptr()
    library.narrow_linear(
        *(x.data_ptr(), x.dtype == torch.bfloat16, *x.shape, weight.data_ptr(), offset, len(weight)),
        *(out.data_ptr(), torch.get_num_threads()),
    )
    return out


def gradients(x: Tensor, weight: Tensor, gradient: Tensor, of_x: bool = True) -> tuple[Tensor | None, Tensor]:
    """The gradients of x, like x, and of the weight, of at most FEW outputs; see ``forward``."""
    library = loops.library()
    assert library is not None
    x_gradient, weight_gradient = torch.empty_like(x) if of_x else None, torch.empty_like(weight)
    part, into = torch.empty(-(-len(x) // _BLOCK), *weight.shape), None if x_gradient is None else x_gradient.data_ptr()
    library.narrow_gradients(
        *(x.data_ptr(), x.dtype == torch.bfloat16, *x.shape, weight.data_ptr(), len(weight), gradient.data_ptr()),
        *(into, _BLOCK, part.data_ptr(), weight_gradient.data_ptr(), torch.get_num_threads()),
    )
    return x_gradient, weight_gradient
