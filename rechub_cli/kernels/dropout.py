"""The compiled loop of dropout as a function of a tensor: contiguous, float32 or bfloat16, on the CPU."""

from __future__ import annotations

import torch
from torch import Tensor

from rechub_cli.kernels import loops


def drop(x: Tensor, seed: int, dropped: int) -> Tensor:
    """Like x: each value times 256 / (256 - dropped), or times 0, which its byte of the random numbers tells."""
    library = loops.library()
    assert library is not None
    out = torch.empty_like(x)
    library.drop_values(
        *(x.data_ptr(), x.dtype == torch.bfloat16, x.numel(), seed, dropped, out.data_ptr(), torch.get_num_threads())
    )
    return out
