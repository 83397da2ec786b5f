"""Rows of an embedding table that a batch looks up, and the gradient of each.

A popular id occurs thousands of times in a batch. Its gradient is the sum over those occurrences, so they are
brought together once: a radix sort of the int32 ids, then one ``embedding_bag`` over the sorted occurrences as segment
sum. Both are several times faster than ``torch.unique`` and ``index_add_``, and sums are always taken in one order,
that of a stable sort, whether ``rechub_cli.kernels`` sort or torch does.

On a GPU the sums are of its own making, in no fixed order, and nothing may depend on how many rows are distinct: the
host would wait for the answer at every step, and could not record the step (see ``trainers/replay.py``). There the
distinct rows are as many as the occurrences, the lowest of them repeated in front.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from rechub_cli.batch import Jagged
from rechub_cli.kernels import loops

BLOCK_VALUES = 65_536  # 256 KiB of each tensor that an optimizer reads
UNCOUNTED = ("cuda",)  # devices whose distinct rows nobody counts


def uncounted(rows: Tensor) -> bool:
    """Whether the number of distinct rows is to stay unknown."""
    return rows.device.type in UNCOUNTED


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


MANY = 1024  # rows of a batch from which products of distinct rows pay beside a dense product of the other fields


@functools.cache
def worth(width: int, many: bool) -> float:
    """Occurrences of each distinct row of a field from which products of these rows are quicker than a dense one.

    The product of a wide row saves more than its additions cost, where eight floats are a vector to both: with AVX-512
    the dense product is quicker, with shorter vectors our additions are slower.
    """
    wide = width >= 16 and width % 8 == 0  # whole vectors
    return 1.3 if many and wide and torch.backends.cpu.get_cpu_capability() == "AVX2" else 4.0


@functools.cache
def mixes(half: bool) -> bool:
    """Whether products of some fields' distinct rows pay beside a dense product of the others, in bf16 if ``half``.

    Where the CPU has tiles for bf16 (AMX), the dense product of all fields takes less time than bringing both together.
    """
    tiles = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return not (half and tiles is not None and tiles())


@dataclass(frozen=True, slots=True)
class Recurring:
    """The fields of a batch that have few distinct rows, K of F fields, as ``nn.looked_up`` takes them."""

    fields: list[int]
    others: Tensor  # int64 (F - K,): the other fields
    place: Tensor  # int32 (F,): of each other field among the others, -1 for these
    rows: Tensor  # int64 (U,): their distinct rows
    which: Tensor  # int64 (U,): these among all distinct rows
    slot: Tensor  # int32 (B, K): the place of each occurrence's row in `rows`
    at: Tensor  # int32 (B * K,): the batch's row of each occurrence, by distinct row
    starts: Tensor  # int64 (U,): where each row's occurrences start in `at`
    first: Tensor  # int64 (K + 1,): where each field's rows start in `rows`

    @classmethod
    def find(cls, grouped: Grouped, offsets: Tensor, width: int, half: bool) -> Recurring | None:
        """Those of the grouped ids (B, F); None where none pay, or where an id is not of its field.

        Args:
            offsets: int64 (F,), the first row of each field, rising: their rows lie one field after the other.
            width: of a row.
            half: the product is one of bfloat16.
        """
        rows, size = grouped.rows, grouped.order.numel() // max(offsets.numel(), 1)
        edges = [*torch.searchsorted(rows, offsets).tolist(), rows.numel()]
        least = worth(width, size >= MANY)
        few = [least * (end - start) <= size for start, end in itertools.pairwise(edges)]
        if not size or not (all(few) or (any(few) and size >= MANY and mixes(half))):
            return None
        fields, others = ([f for f, yes in enumerate(few) if yes == wanted] for wanted in (True, False))
        mine, place = [-1] * len(few), [-1] * len(few)
        for number, f in enumerate(fields):
            mine[f] = number
        for number, f in enumerate(others):
            place[f] = number
        found = sum(edges[f + 1] - edges[f] for f in fields)
        numbered = torch.tensor(mine, dtype=torch.int32)
        placed = loops.place_rows(rows, grouped.order, grouped.starts, offsets, numbered, len(fields), found)
        if placed is None:
            return None
        return cls(
            fields,
            torch.tensor(others, dtype=torch.int64),
            torch.tensor(place, dtype=torch.int32),
            rows[placed[0]],
            *placed,
        )


def segment_sum(values: Tensor, order: Tensor, starts: Tensor, weights: Tensor | None = None) -> Tensor:
    """(U, E): for each segment of ``order``, the (weighted) sum of those rows of ``values`` (n, E)."""
    if not starts.numel():
        return values.new_zeros(0, values.shape[1])
    return F.embedding_bag(order, values, starts, mode="sum", per_sample_weights=weights)


def pooled(ids: Tensor, weight: Tensor, lists: Jagged, mode: str) -> Tensor:
    """(B, E): of each row of ``lists`` the sum, mean or max of ``weight[ids]``, ids (N,); zero where it is empty."""
    offsets = lists.offsets.to(ids.dtype)
    if lists.filled:  # what belongs to no row is a row of its own
        offsets = F.pad(offsets, (0, 1), value=ids.numel())
    return F.embedding_bag(ids, weight, offsets, mode=mode, include_last_offset=True)[: len(lists)]


def sum_by_row(
    ids: Tensor, values: Tensor, source: Tensor | None = None, weights: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Distinct ids (U,), int64 and rising, and for each the sum (U, E) over its occurrences.

    Occurrence i of n is worth ``weights[i] * values[source[i]]``; by default it is ``values[i]``. On a GPU U is n: the
    lowest id is repeated in front, with sums of zero.
    """
    if not uncounted(ids):
        grouped = group(ids)
        order = grouped.order if source is None else source[grouped.order]
        return grouped.rows, segment_sum(
            values, order, grouped.starts, None if weights is None else weights[grouped.order]
        )
    rows, place = _uncounted(ids.flatten())
    parts = values if source is None else values.index_select(0, source)
    if weights is not None:
        parts = parts * weights[:, None]
    return rows, parts.new_zeros(len(place), values.shape[1]).index_add_(0, place, parts)


def _uncounted(ids: Tensor) -> tuple[Tensor, Tensor]:
    """Ids (n,) -> n rows: the lowest, repeated, then the distinct ones, rising; and the place there of each id."""
    if not ids.numel():
        return ids.long(), ids.long()
    ordered, order = torch.sort(ids)
    number = F.pad((ordered[1:] != ordered[:-1]).cumsum(0), (1, 0))
    slots = number + (ids.numel() - 1 - number[-1])
    rows = ordered[:1].repeat(ids.numel()).scatter_(0, slots, ordered)
    return rows.long(), torch.empty_like(slots).scatter_(0, order, slots)


def as_repeated(rows: Tensor, values: Tensor) -> Tensor:
    """Values (U, E) of what ``sum_by_row`` found, where every repetition of a row has the values of that row.

    An optimizer may then compute and write all of them: what is written twice is the same.
    """
    if not uncounted(rows):
        return values
    return values.index_select(0, torch.maximum(torch.arange(len(rows), device=rows.device), _first(rows)))


def only_once(rows: Tensor, values: Tensor) -> Tensor:
    """Values (U, E) for the rows that ``sum_by_row`` found, with zeros for repetitions: what may be added up."""
    if not uncounted(rows):
        return values
    return values * (torch.arange(len(rows), device=rows.device) >= _first(rows))[:, None]


def _first(rows: Tensor) -> Tensor:
    """(1,): where the repetitions end."""
    return torch.searchsorted(rows, rows[:1], right=True) - 1


def sparse_rows(grad: Tensor) -> tuple[Tensor, Tensor]:
    """Rows (U,), rising and distinct, and their values (U, E) of a sparse gradient (V, E); see ``sum_by_row``.

    A gradient that arrives grouped is returned as it is. Autograd drops the flag that says so, therefore it is checked,
    but on a GPU, which would have to be asked.
    """
    rows, values = grad._indices()[0], grad._values()
    if grad.is_coalesced():
        return rows, values
    if not uncounted(rows) and loops.rising(rows):
        return rows, values
    return sum_by_row(rows.int() if grad.shape[0] < 2**31 else rows, values)


def row_blocks(rows: Tensor, values: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Rows (U,) and their values (U, E), a block at a time on a CPU.

    A block is small enough for its rows and their moments to stay in the cache between reading and writing them back:
    that makes an update up to three times as fast.
    """
    size = BLOCK_VALUES // values.shape[1] + 1 if values.device.type == "cpu" else max(rows.numel(), 1)
    yield from zip(rows.split(size), values.split(size), strict=True)


def sparse_grad(rows: Tensor, values: Tensor, shape: torch.Size) -> Tensor:
    """A sparse gradient (V, E) of what ``sum_by_row`` found."""
    distinct = not uncounted(rows)
    return torch.sparse_coo_tensor(rows[None], values, shape, is_coalesced=distinct, check_invariants=False)
