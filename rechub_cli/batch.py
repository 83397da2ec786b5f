"""The structure that carries rows from the loader to the model.

Shape legend: B rows, S sparse features, D dense columns, T labels, N sequence values, E embedding width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Jagged:
    """Rows of different lengths: row i is ``values[offsets[i]:offsets[i + 1]]``."""

    values: Tensor  # (N,) ids, or (N, E) vectors
    offsets: Tensor  # int64 (B + 1,), rising from 0 to N
    filled: bool = False  # whether the offsets may end before N: ids behind them are padding, and belong to no row

    def __len__(self) -> int:
        return self.offsets.numel() - 1

    @property
    def lengths(self) -> Tensor:
        """int64 (B,)"""
        return self.offsets.diff()

    @property
    def rows(self) -> Tensor:
        """int64 (N,): the row each value belongs to; of what belongs to none, the last one."""
        if self.filled:
            places = torch.arange(self.values.shape[0], device=self.values.device)
            return torch.searchsorted(self.offsets[1:], places, right=True).clamp_(max=len(self) - 1)
        return torch.repeat_interleave(self.lengths, output_size=self.values.shape[0])

    @property
    def mask(self) -> Tensor | None:
        """bool (N,): which values belong to a row; None where all do."""
        if not self.filled:
            return None
        return torch.arange(self.values.shape[0], device=self.values.device) < self.offsets[-1]

    def padded(self, length: int | None = None, pad: int = 0) -> Tensor:
        """(B, L): each row left-aligned and filled up with ``pad``; the newest values where L cuts."""
        lengths = self.lengths
        if length is None:
            length = int(lengths.max()) if len(self) else 0
        column = torch.arange(length, device=self.values.device)
        kept = lengths.clamp(max=length)
        index = (self.offsets[1:] - kept)[:, None] + column  # (B, L)
        inside = column < kept[:, None]
        if self.values.numel() == 0:
            return self.values.new_full((len(self), length), pad)
        return torch.where(inside, self.values[index.clamp(max=self.values.numel() - 1)], pad)

    def take(self, rows: Tensor) -> Jagged:
        """The rows named by ``rows`` (int), in that order."""
        lengths = self.lengths[rows]
        offsets = F.pad(lengths.cumsum(0), (1, 0))
        places = torch.arange(int(offsets[-1]), device=self.values.device)
        places += torch.repeat_interleave(self.offsets[rows] - offsets[:-1], lengths, output_size=len(places))
        return Jagged(self.values[places], offsets)

    def slice(self, start: int, stop: int) -> Jagged:
        """Rows start..stop."""
        offsets = self.offsets[start : stop + 1]
        return Jagged(self.values[int(offsets[0]) : int(offsets[-1])], offsets - offsets[0])

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Jagged:
        return self._map(lambda part: part.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Jagged:
        return self._map(lambda part: part.pin_memory())

    def record_stream(self, stream: torch.Stream) -> None:
        self.values.record_stream(stream)
        self.offsets.record_stream(stream)

    def _map(self, change: Callable[[Tensor], Tensor]) -> Jagged:
        return replace(self, values=change(self.values), offsets=change(self.offsets))


@dataclass(frozen=True, slots=True)
class Batch:
    """B encoded rows of one schema; columns in the Schema's order."""

    sparse: Tensor  # int32 (B, S) ids
    dense: Tensor  # float32 (B, D) transformed numbers and vectors
    sequences: Mapping[str, Jagged] = field(default_factory=dict)  # name -> int32 ids
    labels: Tensor | None = None  # float32 (B, T), NaN = masked; None when there are none
    targets: Jagged | None = None  # retrieval: int32 (Q, 2): events of the row's history before it; its item's place
    seen: Jagged | None = None  # retrieval: places of the items that the row's user already has
    weights: Tensor | None = None  # float32 (B,)
    label_weights: Tensor | None = None  # float32 (B, T): of a label's own, beside the row's weight
    group: Tensor | None = None  # int64 (B,)

    def __len__(self) -> int:
        return self.sparse.shape[0]

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Batch:
        return self._map(lambda part: part.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Batch:
        """Page-locked copies, so that the copy to a GPU can overlap with compute."""
        return self._map(lambda part: part.pin_memory())

    def record_stream(self, stream: torch.Stream) -> None:
        """Keep the memory until the work that ``stream`` has by then is done."""

        def keep(part: Tensor | Jagged) -> Tensor | Jagged:
            part.record_stream(stream)
            return part

        self._map(keep)

    def slice(self, start: int, stop: int) -> Batch:
        """Rows start..stop."""
        return self._map(lambda part: part.slice(start, stop) if isinstance(part, Jagged) else part[start:stop])

    def take(self, rows: Tensor) -> Batch:
        """The rows named by ``rows`` (int), in that order: negatives and candidates of a catalogue."""
        return self._map(lambda part: part.take(rows) if isinstance(part, Jagged) else part[rows])

    def split(self, parts: int) -> list[Batch]:
        """At most ``parts`` batches of nearly equal size, in order: one for each replica."""
        size = -(-len(self) // parts)
        return [self.slice(start, min(start + size, len(self))) for start in range(0, len(self), size)]

    def _map(self, change) -> Batch:  # type: ignore[no-untyped-def]
        def optional(part):  # type: ignore[no-untyped-def]
            return None if part is None else change(part)

        return replace(
            self,
            sparse=change(self.sparse),
            dense=change(self.dense),
            sequences={name: change(part) for name, part in self.sequences.items()},
            labels=optional(self.labels),
            targets=optional(self.targets),
            seen=optional(self.seen),
            weights=optional(self.weights),
            label_weights=optional(self.label_weights),
            group=optional(self.group),
        )


@dataclass(frozen=True, slots=True)
class Output:
    """What a model says of a batch."""

    logits: Tensor  # (B, T), before any sigmoid; a regression task's prediction as it stands
    aux_loss: Tensor | None = None  # scalar, added to the loss as it stands
    extras: Mapping[str, Tensor] = field(default_factory=dict)  # derived predictions (B,), by name
