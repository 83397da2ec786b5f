"""A user's history as one sequence of events, and the parts of it that were known at a moment."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from rechub_cli.batch import Batch, Jagged
from rechub_cli.nn.towers import IdAndMore, ItemVectors, TowerEmbedding, history_of, item_id
from rechub_cli.schema import Schema


@dataclass(frozen=True, slots=True)
class Prefixes:
    """The first ``lengths[q]`` events of row ``starts[q]``.. for each of Q queries, as places among all N events."""

    starts: Tensor  # int64 (Q,): place of the row's first event
    lengths: Tensor  # int64 (Q,)

    @classmethod
    def whole(cls, offsets: Tensor) -> Prefixes:
        """One query a row: all of its events."""
        return cls(offsets[:-1], offsets.diff())

    @classmethod
    def before_targets(cls, offsets: Tensor, targets: Jagged | None) -> Prefixes:
        """One query a target: the events before it. Raises ValueError where a batch has no targets."""
        if targets is None:
            raise ValueError("encode_positions needs a batch with targets")
        return cls(offsets[targets.rows], targets.values[:, 0].long())

    def last(self, states: Tensor) -> Tensor:
        """Of the states after each event (N, E): those at the end of the prefixes (Q, E); zeros where one is empty."""
        if not states.shape[0]:
            return states.new_zeros(len(self.lengths), states.shape[1])
        found = states[(self.starts + self.lengths - 1).clamp_(min=0)]
        return found * (self.lengths > 0)[:, None]

    def events(self) -> Jagged:
        """int64: the places of each prefix's events."""
        offsets = torch.zeros(len(self.lengths) + 1, dtype=torch.int64, device=self.lengths.device)
        torch.cumsum(self.lengths, 0, out=offsets[1:])
        places = torch.arange(int(offsets[-1]), device=offsets.device)
        shifts = torch.repeat_interleave(self.starts - offsets[:-1], self.lengths, output_size=len(places))
        return Jagged(places + shifts, offsets)

    def split(self, parts: int) -> list[Prefixes]:
        """At most ``parts`` groups of queries, in order."""
        return [Prefixes(*pair) for pair in zip(self.starts.chunk(parts), self.lengths.chunk(parts), strict=True)]


class EventTower(nn.Module):
    """The towers of a sequential model: a history of items, its aligned columns added, and nothing else of the user.

    An event's vector is the item id's row plus a linear map of the other columns of the history; an item's is the same
    row plus a linear map of the item's other columns. The user's other features are not read.

    Args:
        schema: the columns of both towers.
        model: for messages.
        history: which sequence, where the user has several of items.
        std: deviation of the initial rows.

    Attributes:
        dim: E, the width of the item's id.
        max_len: no history is longer.

    Raises: SpecError where there is no history of items.
    """

    def __init__(self, schema: Schema, model: str, history: str | None, *, std: float) -> None:
        super().__init__()
        first, *aligned = history_of(schema, model, history)
        whole = (replace(feature, pooling="none") for feature in (first, *aligned))
        self.embedding = TowerEmbedding(schema.with_features((*whole, *schema.item.features)), std=std)
        self.dim, self.max_len = first.embed_dim, first.max_len
        self.history, self.aligned = first.name, [feature.name for feature in aligned]
        self.event = IdAndMore(self.dim, sum(feature.embed_dim for feature in aligned))
        self.item = ItemVectors(self.embedding, item_id(schema, model))

    def events(self, batch: Batch) -> Jagged:
        """Rows laid out by ``schema.user`` -> their N events (N, E), oldest first."""
        histories_only = replace(batch, sparse=batch.sparse[:, :0], dense=batch.dense[:, :0])
        sequences = self.embedding.user(histories_only).sequences
        ids = sequences[self.history]
        return Jagged(self.event(ids.values, *(sequences[name].values for name in self.aligned)), ids.offsets)

    def items(self, batch: Batch) -> Tensor:
        """Rows laid out by ``schema.item`` -> (I, E)."""
        return self.item(self.embedding.item(batch))
