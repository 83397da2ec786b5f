"""Encoded rows: one int32 matrix for everything of fixed width, and values with lengths for sequences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import numpy as np

from rechub_cli.kernels import lists
from rechub_cli.schema import Schema

if TYPE_CHECKING:
    from rechub_cli.data.chunk import Chunk

SEEN = "\0seen"  # the sequence of the places that a row's user already has; no column has this name


@dataclass(frozen=True)
class Layout:
    """The columns of the row matrix: [ids | numbers | labels | weight | weights of labels | group | lengths | target].

    Numbers, labels and weights are float32 by their bits; the group is an int64 in two columns; the target is
    how many events come before it, and its place in the catalogue.
    """

    n_sparse: int
    n_dense: int
    n_labels: int = 0
    weight: bool = False
    group: bool = False
    sequences: tuple[str, ...] = ()
    target: bool = False
    label_weights: bool = False  # each label has a weight of its own beside the row's

    @classmethod
    def of(cls, schema: Schema, *, labels: bool, weight: bool, group: bool, label_weights: bool = False) -> Layout:
        return cls(
            len(schema.sparse),
            schema.n_dense,
            len(schema.tasks) if labels else 0,
            labels and weight,
            labels and group,
            tuple(feature.name for feature in schema.sequences),
            label_weights=labels and label_weights,
        )

    @cached_property
    def sparse(self) -> slice:
        return slice(0, self.n_sparse)

    @cached_property
    def dense(self) -> slice:
        return slice(self.n_sparse, self.n_sparse + self.n_dense)

    @cached_property
    def labels(self) -> slice:
        return slice(self.dense.stop, self.dense.stop + self.n_labels)

    @cached_property
    def weights(self) -> slice:
        return slice(self.labels.stop, self.labels.stop + self.weight)

    @cached_property
    def own_weights(self) -> slice:
        """Of each label."""
        return slice(self.weights.stop, self.weights.stop + self.n_labels * self.label_weights)

    @cached_property
    def groups(self) -> slice:
        return slice(self.own_weights.stop, self.own_weights.stop + 2 * self.group)

    @cached_property
    def lengths(self) -> slice:
        return slice(self.groups.stop, self.groups.stop + len(self.sequences))

    @cached_property
    def targets(self) -> slice:
        return slice(self.lengths.stop, self.lengths.stop + 2 * self.target)

    @cached_property
    def parts(self) -> tuple[slice, ...]:
        """All of them, from left to right."""
        return (
            *(self.sparse, self.dense, self.labels, self.weights),
            *(self.own_weights, self.groups, self.lengths, self.targets),
        )

    @cached_property
    def widths(self) -> tuple[int, ...]:
        """Columns of each part."""
        return tuple(part.stop - part.start for part in self.parts)

    @cached_property
    def width(self) -> int:
        return self.targets.stop


@dataclass(slots=True)
class Block:
    """``rows`` int32 (n, layout.width); ``values`` by sequence: int32, row after row, as long as its lengths say."""

    layout: Layout
    rows: np.ndarray
    values: dict[str, np.ndarray] = field(default_factory=dict)
    unseen: dict[str, int] = field(default_factory=dict)  # ids of values that training did not have, by feature
    missing: dict[str, int] = field(default_factory=dict)  # nulls, by feature
    empty: dict[str, int] = field(default_factory=dict)  # rows that have none, by sequence
    totals: dict[str, float] = field(default_factory=dict)  # sum of a number's values; how many ids a sequence has

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def labels(self) -> np.ndarray:
        """float32 (n, T)"""
        return self.rows[:, self.layout.labels].view(np.float32)

    def starts(self) -> dict[str, np.ndarray]:
        """Where each row's values start, by sequence: int64 (n + 1,)."""
        lengths = self.rows[:, self.layout.lengths]
        return {name: offsets_of(lengths[:, place]) for place, name in enumerate(self.layout.sequences)}


class RowEncoder(Protocol):
    """What makes blocks of raw rows: an Encoder, or one that adds the targets of retrieval."""

    @property
    def schema(self) -> Schema:
        """What the batches of these rows hold."""

    @property
    def hash(self) -> str:
        """Of everything that decides what a row becomes."""

    @property
    def columns(self) -> list[str]:
        """The raw columns that are read."""

    @property
    def label_columns(self) -> list[str]:
        """Those of labels, weight and group."""

    def layout(self, labels: bool = True) -> Layout:
        """Of the blocks that ``encode`` makes."""

    def encode(self, chunk: Chunk, labels: bool = True) -> Block:
        """The rows of a chunk, in their order."""


def offsets_of(lengths: np.ndarray) -> np.ndarray:
    """int64 (n + 1,) from 0."""
    out = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=out[1:])
    return out


def gather(values: np.ndarray, starts: np.ndarray, lengths: np.ndarray, threads: int = 1) -> np.ndarray:
    """``values[s : s + l]`` for each start and length, one after the other."""
    offsets = offsets_of(lengths)
    compiled = lists.gather(values, starts, offsets, threads)
    if compiled is not None:
        return compiled
    places = np.arange(offsets[-1])
    places += np.repeat(starts - offsets[:-1], lengths)
    return values[places]


def take(block: Block, starts: dict[str, np.ndarray], order: np.ndarray) -> Block:
    """The rows named by ``order``; ``starts`` are the block's own. Counts are not carried over."""
    layout = block.layout
    rows = np.take(block.rows, order, axis=0)
    lengths = rows[:, layout.lengths]
    values = {
        name: gather(block.values[name], starts[name][order], lengths[:, place])
        for place, name in enumerate(layout.sequences)
    }
    return Block(layout, rows, values)


def concatenate(parts: Sequence[Block]) -> Block:
    """The rows of all parts, in order; counts are not carried over."""
    layout = parts[0].layout
    rows = np.concatenate([part.rows for part in parts])
    return Block(
        layout, rows, {name: np.concatenate([part.values[name] for part in parts]) for name in layout.sequences}
    )
