"""The compiled loops of target attention as functions of tensors: contiguous, float32, on the CPU; offsets int64.

Shape legend: B rows, N values of them all, E the width of a value, H units.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rechub_cli.kernels import loops

_LARGEST, _LONGEST = 8192, 256  # as in attention.c


def fits(width: int, units: int) -> bool:
    """Whether the loops take a layer of this size: a row's matrix stays in the cache of a core."""
    largest = max(width * _whole(units), units * _whole(width))
    return 0 < width <= _LONGEST and units <= _LONGEST and largest <= _LARGEST


def forward(offsets: Tensor, values: Tensor, target: Tensor, by_row: Tensor, weight: Tensor, *, half: bool) -> Tensor:
    """(N, H), bfloat16 where ``half``: by_row (B, H) of each value's row, and value (N, E) @ weight[0] (E, H), and
    (target (B, E) of its row * value) @ weight[1].

    Raises: ValueError where the offsets (B + 1,) do not rise from 0 to N, or a shape is another.
    """
    library = loops.library()
    assert library is not None
    n, (count, width), units = len(offsets) - 1, values.shape, by_row.shape[1]
    _require((target.shape, by_row.shape, weight.shape) == ((n, width), (n, units), (2, width, units)))
    out = torch.empty(count, units, dtype=torch.bfloat16 if half else torch.float32)
    near = torch.empty(library.attention_near(0, n, width, units))
    wrong = library.attention_forward(
        *(offsets.data_ptr(), n, count, width, units, values.data_ptr(), target.data_ptr(), by_row.data_ptr()),
        *(weight.data_ptr(), half, near.data_ptr(), out.data_ptr(), torch.get_num_threads()),
    )
    _require(not wrong)
    return out


def gradients(
    offsets: Tensor, values: Tensor, target: Tensor, weight: Tensor, gradient: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The gradients of values, target, by_row and weight, for one of ``forward``'s answer, of its type."""
    library = loops.library()
    assert library is not None
    n, width, units = len(target), values.shape[1], gradient.shape[1]
    near = torch.empty(library.attention_near(1, n, width, units))
    of_values, of_target, of_weight = torch.empty_like(values), torch.empty_like(target), torch.empty_like(weight)
    of_rows = torch.empty(n, units)
    library.attention_gradients(
        *(offsets.data_ptr(), n, width, units, values.data_ptr(), target.data_ptr(), weight.data_ptr()),
        *(gradient.data_ptr(), gradient.dtype == torch.bfloat16, near.data_ptr(), of_values.data_ptr()),
        *(of_target.data_ptr(), of_rows.data_ptr(), of_weight.data_ptr(), torch.get_num_threads()),
    )
    return of_values, of_target, of_rows, of_weight


def weighted_sums(offsets: Tensor, values: Tensor, weights: Tensor) -> Tensor:
    """(B, E): the sum of each row's values (N, E), each times its weight (N, 1).

    Raises: ValueError where the offsets (B + 1,) do not rise from 0 to N, or a shape is another.
    """
    library = loops.library()
    assert library is not None
    n, (count, width) = len(offsets) - 1, values.shape
    _require(weights.numel() == count)
    out = torch.empty(n, width)
    wrong = library.weighted_sums(
        *(offsets.data_ptr(), n, count, width, values.data_ptr(), weights.data_ptr(), out.data_ptr()),
        torch.get_num_threads(),
    )
    _require(not wrong)
    return out


def weighted_gradients(offsets: Tensor, values: Tensor, weights: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients of values and weights; see ``weighted_sums``."""
    library = loops.library()
    assert library is not None
    of_values, of_weights = torch.empty_like(values), torch.empty_like(weights)
    library.weighted_gradients(
        *(offsets.data_ptr(), len(offsets) - 1, values.shape[1], values.data_ptr(), weights.data_ptr()),
        *(gradient.data_ptr(), of_values.data_ptr(), of_weights.data_ptr(), torch.get_num_threads()),
    )
    return of_values, of_weights


def _whole(width: int) -> int:
    return -(-width // 16) * 16


def _require(right: bool) -> None:
    if not right:
        raise ValueError(
            "a jagged sequence: offsets that do not rise from 0 to the number of values, or shapes that differ"
        )
