"""The compiled loops of causal self-attention as functions of tensors: contiguous, float32, on the CPU; offsets int64.

Shape legend: B rows, N events of them all, E the width of an event.
"""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from rechub_cli.kernels import loops


def forward(offsets: Tensor, packed: Tensor, n_heads: int) -> Tensor:
    """(N, E): what each event's query finds among the keys up to its own, of packed (N, 3E) queries, keys and values.

    Raises: ValueError where the offsets (B + 1,) do not rise from 0 to N, or E is no multiple of ``n_heads``.
    """
    out = torch.empty(len(packed), packed.shape[1] // 3)
    library, shape, near = _prepared(offsets, packed, n_heads, backward=False)
    library.causal_forward(
        *(offsets.data_ptr(), *shape, packed.data_ptr(), near.shape[1], near.data_ptr(), out.data_ptr()), len(near)
    )
    return out


def gradients(offsets: Tensor, packed: Tensor, n_heads: int, gradient: Tensor) -> Tensor:
    """The gradient of ``packed``, for one of ``forward``'s answer."""
    out = torch.empty_like(packed)
    library, shape, near = _prepared(offsets, packed, n_heads, backward=True)
    library.causal_gradients(
        *(offsets.data_ptr(), *shape, packed.data_ptr(), gradient.data_ptr(), near.shape[1], near.data_ptr()),
        *(out.data_ptr(), len(near)),
    )
    return out


def _prepared(
    offsets: Tensor, packed: Tensor, n_heads: int, *, backward: bool
) -> tuple[ctypes.CDLL, tuple[int, int, int, int], Tensor]:
    """The loops, what they are told of shapes, and room to work in for each thread."""
    library = loops.library()
    assert library is not None
    n, (count, three), longest = len(offsets) - 1, packed.shape, ctypes.c_int64()
    width = three // 3 // n_heads
    size = library.causal_near(offsets.data_ptr(), n, count, width, backward, ctypes.byref(longest))
    if size < 0 or three != 3 * n_heads * width:
        raise ValueError(f"{count} events of {three} columns: other offsets, or no {n_heads} heads")
    return library, (n, longest.value, n_heads, width), torch.empty(torch.get_num_threads(), size)
