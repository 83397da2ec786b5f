"""The compiled loops as functions of tensors.

``kernels.c`` knows neither Python nor torch: it is given addresses. Without it, or with ``RECHUB_KERNELS=0``, callers
take their path through torch's operators, which gives the same numbers to within rounding. Everything here asks for
contiguous CPU tensors, and its results do not depend on the number of threads.
"""

from __future__ import annotations

import ctypes
import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rechub_cli.kernels import loaded

_int, _i64, _u64, _double, _at = ctypes.c_int, ctypes.c_int64, ctypes.c_uint64, ctypes.c_double, ctypes.c_void_p
_SIGNATURES: dict[str, tuple[list[type], type | None]] = {
    "set_parallel": ([_at], None),
    "group_ids": ([_at, _i64, _i64, _at, _at, _at, _int], _i64),
    "place_rows": ([_at, _i64, _at, _at, _i64, _at, _i64, _at, _i64, *[_at] * 5], _i64),
    "look_up_fields": ([_at, _i64, _i64, _i64, _at, _i64, _at, _i64, _at, _int, _at, _at, _int], _int),
    "sum_gradients": ([_at, _at, _i64, _at, _i64, _i64, _i64, _at, _i64, _at, _int, *[_at] * 4, _int], None),
    "narrow_linear": ([_at, _int, _i64, _i64, _at, _at, _i64, _at, _int], None),
    "narrow_gradients": ([_at, _int, _i64, _i64, _at, _i64, _at, _at, _i64, _at, _at, _int], None),
    "dice_period": ([_i64], _i64),
    "dice_statistics": ([_at, _int, *[_i64] * 3, _at, _double, _double, *[_at] * 4, _int], None),
    "dice_forward": ([_at, _int, _i64, _i64, *[_at] * 3, _i64, _at, _at, _int], None),
    "dice_gradients": ([_at, _int, _i64, _i64, *[_at] * 4, _int, _i64, *[_at] * 4, _int], None),
    "attention_near": ([_int, _i64, _i64, _i64], _i64),
    "attention_forward": ([_at, *[_i64] * 4, *[_at] * 4, _int, _at, _at, _int], _int),
    "attention_gradients": ([_at, *[_i64] * 3, *[_at] * 4, _int, *[_at] * 5, _int], None),
    "weighted_sums": ([_at, *[_i64] * 3, *[_at] * 3, _int], _int),
    "weighted_gradients": ([_at, _i64, _i64, *[_at] * 5, _int], None),
    "drop_values": ([_at, _int, _i64, _u64, _int, _at, _int], None),
    "causal_near": ([_at, *[_i64] * 3, _int, _at], _i64),
    "causal_forward": ([_at, *[_i64] * 4, _at, _i64, _at, _at, _int], None),
    "causal_gradients": ([_at, *[_i64] * 4, _at, _at, _i64, _at, _at, _int], None),
    "lazy_adam": ([_at, _at, _i64, _i64, _at, _at, _at, _i64, *[_double] * 6, _int], None),
    "rowwise_adagrad": ([_at, _at, _i64, _i64, _at, _at, *[_double] * 3, _int], None),
    "rising": ([_at, _i64], _int),
    "find_rows": ([_at, _i64, _at, _i64, _at], _i64),
    "count_steps": ([_at, _i64], None),
    "looked_up_tile": ([_int, _i64, _int], _i64),
    "looked_up_linear": ([_int, _int, *[_at] * 18, _int, _int], None),
}

_PAIR = 32  # outputs that the loops over looked-up rows take at once


@functools.cache
def library() -> ctypes.CDLL | None:
    """The compiled loops; None where there are none."""
    found = loaded(**_SIGNATURES)
    entry = None if found is None else _openmp_entry()
    if found is not None and entry is not None:
        found.set_parallel(entry)
    return found


def usable(*tensors: Tensor) -> ctypes.CDLL | None:
    """The compiled loops, if these are tensors for them: on the CPU and contiguous."""
    for tensor in tensors:
        if not (tensor.is_cpu and tensor.is_contiguous()):
            return None
    return library()


def group_ids(ids: Tensor) -> tuple[Tensor, Tensor, Tensor] | None:
    """Of int32 ids of any shape, n in all: distinct ids (U,), occurrences (n,) by rising id, and where each id's start
    (U,): int64. Ids (B, F) whose columns lie one above the other are quickest."""
    loops = usable(ids)
    if loops is None or ids.dtype != torch.int32:
        return None
    n, fields = ids.numel(), ids.shape[-1] if ids.dim() > 1 else 1
    order, rows, starts = (torch.empty(n, dtype=torch.int64) for _ in range(3))
    found = loops.group_ids(ids.data_ptr(), n, fields, order.data_ptr(), rows.data_ptr(), starts.data_ptr(), _threads())
    return None if found < 0 else (rows[:found], order, starts[:found])


def look_up_fields(
    table: Tensor,
    ids: Tensor,
    *,
    place: Tensor | None = None,
    kept: int | None = None,
    half: bool = False,
    interact: bool = False,
    total_only: bool = False,
) -> tuple[Tensor, Tensor | None, Tensor | None] | None:
    """Rows of a float32 table (V, E) for int32 ids (B, F): (B, F, E), in bfloat16 where ``half``.

    ``place``, int32 (F,): the place of each field in the answer, rising, or -1 for none; ``kept``: how many have one.
    With ``interact`` also the bi-interaction of all fields and their sum, both (B, E). ``total_only``: that sum, and
    no field.
    """
    loops = usable(table, ids)
    if loops is None or ids.dtype != torch.int32 or table.dtype != torch.float32:
        return None
    (size, fields), width = ids.shape, table.shape[1]
    if total_only:
        place, kept = nowhere(fields), 0
    kept = fields if kept is None else kept
    out = torch.empty(size, kept, width, dtype=torch.bfloat16 if half else torch.float32)
    blank = torch.empty if fields else torch.zeros
    total = blank(size, width) if interact or total_only else None
    interaction = blank(size, width) if interact else None
    wrong = loops.look_up_fields(
        *(ids.data_ptr(), size, fields, width, _address(place), kept, table.data_ptr(), table.shape[0], out.data_ptr()),
        *(half, _address(total), _address(interaction), _threads()),
    )
    return None if wrong else (out, interaction, total)  # torch's own operator tells what is wrong


def sum_gradients(
    rows: Tensor,
    order: Tensor,
    starts: Tensor,
    gradient: Tensor,
    table: Tensor,
    beside: tuple[Tensor, Tensor | None] | None = None,
    place: Tensor | None = None,
) -> Tensor | None:
    """(U, E): the gradient (B, F, E), float32 or bfloat16, of looked-up fields, summed by distinct row.

    ``beside``: what each of the fields gets (B, E), the gradient of their sum or that of the interaction times their
    sum; and the gradient of the interaction, of which its own row is taken apart. ``place``: see ``look_up_fields``.
    """
    of_total, of_interaction = beside or (None, None)
    given = [tensor for tensor in (gradient, table, of_total, of_interaction) if tensor is not None]
    loops = usable(*given)
    if loops is None or gradient.dtype not in (torch.float32, torch.bfloat16) or table.dtype != torch.float32:
        return None
    out = torch.empty(rows.numel(), table.shape[1])
    fields = gradient.shape[1] if place is None else place.numel()
    loops.sum_gradients(
        *(rows.data_ptr(), order.data_ptr(), order.numel(), starts.data_ptr(), rows.numel(), fields, table.shape[1]),
        *(_address(place), gradient.shape[1], gradient.data_ptr(), gradient.dtype == torch.bfloat16),
        *(_address(of_total), _address(of_interaction), table.data_ptr(), out.data_ptr(), _threads()),
    )
    return out


@functools.cache
def nowhere(fields: int) -> Tensor:
    """int32 (F,): the ``place`` of fields of which none is kept."""
    return torch.full((fields,), -1, dtype=torch.int32)


def lazy_adam(
    rows: Tensor,
    grads: Tensor,
    weight: Tensor,
    mean: Tensor,
    square: Tensor,
    *,
    step: float,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
) -> bool:
    """Adam in place on the distinct ``rows`` (U,) of (V, E) tensors; False where torch has to do it.

    The rows of both moments may lie apart, as long as they are equally far from one another.
    """
    loops, alike = usable(rows, grads, weight), mean.stride() == square.stride() and mean.stride(1) == 1
    if loops is None or not alike or any(tensor.dtype != torch.float32 for tensor in (grads, weight, mean, square)):
        return False
    addresses = (weight.data_ptr(), mean.data_ptr(), square.data_ptr(), mean.stride(0))
    loops.lazy_adam(
        *(rows.data_ptr(), grads.data_ptr(), rows.numel(), grads.shape[1], *addresses),
        *(step, lr, *betas, eps, weight_decay, _threads()),
    )
    return True


def rowwise_adagrad(
    rows: Tensor, grads: Tensor, weight: Tensor, total: Tensor, *, lr: float, eps: float, weight_decay: float
) -> bool:
    """Row-wise Adagrad in place on the distinct ``rows`` (U,) of (V, E); False where torch has to do it."""
    loops = usable(rows, grads, weight, total)
    if loops is None or any(tensor.dtype != torch.float32 for tensor in (grads, weight, total)):
        return False
    loops.rowwise_adagrad(
        *(rows.data_ptr(), grads.data_ptr(), rows.numel(), grads.shape[1], weight.data_ptr(), total.data_ptr()),
        *(lr, eps, weight_decay, _threads()),
    )
    return True


def rising(rows: Tensor) -> bool:
    """Whether every row (int64) is greater than the one before it."""
    loops = usable(rows)
    return bool((rows[1:] > rows[:-1]).all()) if loops is None else bool(loops.rising(rows.data_ptr(), rows.numel()))


def find_rows(rows: Tensor, wanted: Tensor) -> Tensor:
    """The places among rising rows (int64) of those wanted (int64) that are there."""
    loops = usable(rows, wanted)
    if loops is None:
        place = torch.searchsorted(rows, wanted).clamp_(max=max(rows.numel() - 1, 0))
        return place[rows[place] == wanted] if rows.numel() else place[:0]
    places = torch.empty_like(wanted)
    count = loops.find_rows(rows.data_ptr(), rows.numel(), wanted.data_ptr(), wanted.numel(), places.data_ptr())
    return places[:count]


def count_steps(steps: Sequence[Tensor]) -> None:
    """Add one to each of some numbers (float32, of no dimension)."""
    loops = usable(*steps)
    if loops is None or any(step.dtype != torch.float32 for step in steps):
        torch._foreach_add_(list(steps), 1)
    else:
        loops.count_steps((_at * len(steps))(*(step.data_ptr() for step in steps)), len(steps))


def place_rows(
    rows: Tensor, order: Tensor, starts: Tensor, offsets: Tensor, place: Tensor, kept: int, found: int
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor] | None:
    """Of the grouped ids (B, F) of a batch, what ``looked_up_linear`` wants of K of the fields.

    ``offsets`` (F,): the first row of each field, rising. ``place``, int32 (F,): each field's number among the K,
    rising, or -1. ``found``: U, how many distinct rows these have. Returns ``which``, ``slot``, ``at``, ``starts`` and
    ``first`` of ``nn.rows.Recurring``; None where an id lies among the rows of another field.
    """
    loops = library()
    assert loops is not None
    fields = place.numel()
    size = order.numel() // fields
    slot, at = torch.empty(size, kept, dtype=torch.int32), torch.empty(size * kept, dtype=torch.int32)
    first, kept_starts, which = (torch.empty(n, dtype=torch.int64) for n in (kept + 1, found, found))
    placed = loops.place_rows(
        *(order.data_ptr(), size, rows.data_ptr(), starts.data_ptr(), rows.numel(), offsets.data_ptr(), fields),
        *(place.data_ptr(), kept),
        *(tensor.data_ptr() for tensor in (slot, at, first, kept_starts, which)),
    )
    return (which, slot, at, kept_starts, first) if placed == found else None


def looked_up_linear(
    inputs: Any,  # an nn.rows.Recurring
    rows: Tensor,
    dense: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    turned: Tensor | None,
    out: Tensor,
    row_gradient: Tensor | None = None,
    weight_gradient: Tensor | None = None,
    bias_gradient: Tensor | None = None,
    *,
    add: bool = False,
) -> Tensor:
    """One pass of ``nn.looked_up`` over distinct rows (U, E) and numbers (B, D); the weight is (outputs, F * E + D).

    Forwards it writes ``out``, or adds to it where ``add``, and returns the weight transposed, as the loops want it;
    backwards, where that and the gradients are given, it reads ``out`` as the gradient, adds to ``row_gradient``,
    and leaves the columns of ``weight_gradient`` alone whose fields do not recur.
    """
    loops = library()
    assert loops is not None
    (size, fields), (found, width) = inputs.slot.shape, rows.shape
    outputs, half = -(-out.shape[1] // _PAIR) * _PAIR, out.dtype == torch.bfloat16
    backward = turned is not None
    read = size if backward else found
    tile = loops.looked_up_tile(backward, read, half)
    tiles = -(-outputs // tile)
    near = out.new_empty(min(_threads(), tiles), read, min(tile, outputs))
    part = number_gradient = None
    if turned is None:
        turned = weight.new_empty(fields * width + dense.shape[1], outputs)
    else:
        part = weight.new_empty(tiles, found, width)
        number_gradient = weight.new_empty(dense.shape[1], outputs)
    shape = (size, fields, width, dense.shape[1], out.shape[1], found, weight.shape[1])
    columns = [*(field * width for field in inputs.fields), weight.shape[1] - dense.shape[1]]
    given = (inputs.first, inputs.starts, inputs.slot, inputs.at, rows, weight, bias, dense)
    written = (turned, near, out, row_gradient, part, number_gradient, weight_gradient, bias_gradient)
    loops.looked_up_linear(
        *(backward, add, (ctypes.c_int64 * 7)(*shape), (ctypes.c_int64 * len(columns))(*columns)),
        *(_address(tensor) for tensor in (*given, *written)),
        *(half, _threads()),
    )
    return turned


def _address(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


def _threads() -> int:
    return torch.get_num_threads()


def _openmp_entry() -> int | None:
    """Address of what starts a parallel region of the OpenMP that torch is linked to: one pool of threads for both."""
    path = Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"
    try:
        torch_cpu = ctypes.CDLL(str(path), mode=ctypes.DEFAULT_MODE | os.RTLD_NOLOAD)
        return ctypes.cast(torch_cpu.GOMP_parallel, ctypes.c_void_p).value
    except (OSError, AttributeError):  # a build of torch without it: one thread
        return None
