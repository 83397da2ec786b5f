"""Rows of an embedding table that a batch looks up, and the gradient of each.

A popular id occurs thousands of times in a batch. Its gradient is the sum over those occurrences, so they are
brought together once: a radix sort of the int32 ids, then one ``embedding_bag`` over the sorted occurrences as segment
sum. Both are several times faster than ``torch.unique`` and ``index_add_``, and sums are always taken in one order,
that of a stable sort, whether ``rechub_cli.kernels`` sort or torch does.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from rechub_cli.kernels import loops

BLOCK_VALUES = 65_536  # 256 KiB of each tensor that an optimizer reads


@dataclass(frozen=True, slots=True)
class Grouped:
    """Occurrences brought together by id: U distinct rows of n occurrences."""

    rows: Tensor  # int64 (U,), rising
    order: Tensor  # int64 (n,): occurrences in the order of their row
    starts: Tensor  # int64 (U,): where each row's occurrences start in `order`


def group(ids: Tensor) -> Grouped:
    """Group ids of any integer type and shape; int32 sorts fastest."""
    compiled = loops.group_ids(ids)
    if compiled is not None:
        return Grouped(*compiled)
    ordered, order = torch.sort(ids.flatten(), stable=True)
    rows, counts = torch.unique_consecutive(ordered, return_counts=True)
    return Grouped(rows.long(), order, counts.cumsum(0).sub_(counts))


WORTH = 4  # occurrences of each distinct row of a field from which products of these rows are quicker
MANY = 1024  # rows of a batch from which that pays beside a dense product of the other fields


@dataclass(frozen=True, slots=True)
class Recurring:
    """The fields of a batch that have few distinct rows, K of F fields, as ``nn.looked_up`` takes them."""

    fields: list[int]
    place: Tensor  # int32 (F,): of each other field among the others, -1 for these
    rows: Tensor  # int64 (U,): their distinct rows
    which: Tensor  # int64 (U,): these among all distinct rows
    slot: Tensor  # int32 (B, K): the place of each occurrence's row in `rows`
    at: Tensor  # int32 (B * K,): the batch's row of each occurrence, by distinct row
    starts: Tensor  # int64 (U,): where each row's occurrences start in `at`
    first: Tensor  # int64 (K + 1,): where each field's rows start in `rows`

    @classmethod
    def find(cls, grouped: Grouped, offsets: Tensor) -> Recurring | None:
        """Those of the grouped ids (B, F); None where there are none, or where an id is not of its field.

        Args:
            offsets: int64 (F,), the first row of each field, rising: their rows lie one field after the other.
        """
        rows, size = grouped.rows, grouped.order.numel() // max(offsets.numel(), 1)
        edges = [*torch.searchsorted(rows, offsets).tolist(), rows.numel()]
        few = [WORTH * (end - start) <= size for start, end in itertools.pairwise(edges)]
        if not size or not (all(few) or (any(few) and size >= MANY)):
            return None
        numbers = {True: itertools.count(), False: itertools.count()}
        numbered = [(yes, next(numbers[yes])) for yes in few]
        mine = torch.tensor([number if yes else -1 for yes, number in numbered], dtype=torch.int32)
        others = torch.tensor([-1 if yes else number for yes, number in numbered], dtype=torch.int32)
        found = sum(edges[f + 1] - edges[f] for f, yes in enumerate(few) if yes)
        placed = loops.place_rows(rows, grouped.order, grouped.starts, offsets, mine, found)
        fields = [f for f, yes in enumerate(few) if yes]
        return None if placed is None else cls(fields, others, rows[placed[0]], *placed)


def segment_sum(values: Tensor, order: Tensor, starts: Tensor, weights: Tensor | None = None) -> Tensor:
    """(U, E): for each segment of ``order``, the (weighted) sum of those rows of ``values`` (n, E)."""
    if not starts.numel():
        return values.new_zeros(0, values.shape[1])
    return F.embedding_bag(order, values, starts, mode="sum", per_sample_weights=weights)


def sparse_rows(grad: Tensor) -> tuple[Tensor, Tensor]:
    """Rows (U,), rising and distinct, and their values (U, E) of a sparse gradient (V, E).

    A gradient that arrives grouped is returned as it is. Autograd drops the flag that says so, therefore it is checked.
    """
    rows, values = grad._indices()[0], grad._values()
    if grad.is_coalesced() or bool((rows[1:] > rows[:-1]).all()):
        return rows, values
    grouped = group(rows.int() if grad.shape[0] < 2**31 else rows)
    return grouped.rows, segment_sum(values, grouped.order, grouped.starts)


def row_blocks(rows: Tensor, values: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Rows (U,) and their values (U, E), a block at a time on a CPU.

    A block is small enough for its rows and their moments to stay in the cache between reading and writing them back:
    that makes an update up to three times as fast.
    """
    size = BLOCK_VALUES // values.shape[1] + 1 if values.device.type == "cpu" else max(rows.numel(), 1)
    yield from zip(rows.split(size), values.split(size), strict=True)


def sparse_grad(rows: Tensor, values: Tensor, shape: torch.Size) -> Tensor:
    """A sparse gradient (V, E) of distinct rows in rising order."""
    return torch.sparse_coo_tensor(rows[None], values, shape, is_coalesced=True, check_invariants=False)
