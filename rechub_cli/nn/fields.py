"""How a batch asks one table for its rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from rechub_cli.batch import Jagged
from rechub_cli.nn.request import Request
from rechub_cli.nn.table import EmbeddingTable
from rechub_cli.schema import Feature, Schema


class TableFields(nn.Module):
    """The sparse and sequence features whose rows lie in one table.

    Args:
        table: where the rows lie, if the table holds those of other features too.

    Attributes:
        fields: the columns of the table's answer: sparse features, then lists pooled by sum or mean.
        listed: sequences whose rows come one by one.
    """

    columns: Tensor
    offsets: Tensor

    def __init__(self, schema: Schema, features: Sequence[Feature], table: EmbeddingTable | None = None) -> None:
        super().__init__()
        self.sizes = {feature.table: feature.vocab_size for feature in features}
        self.oov_buckets = {feature.table: feature.oov_buckets for feature in features}
        starts, total = {}, 0
        for name, size in self.sizes.items():
            starts[name] = table.row_offset(name) if table else total
            total += size
        names = {feature.name for feature in features}
        columns = [column for column, feature in enumerate(schema.sparse) if feature.name in names]
        sparse = [schema.sparse[column] for column in columns]
        sequences = [feature for feature in schema.sequences if feature.name in names]
        self.starts = {feature.name: starts[feature.table] for feature in features}
        self.pooled = {feature.name: feature.pooling for feature in sequences if feature.pooling in ("sum", "mean")}
        self.listed = [feature.name for feature in sequences if feature.name not in self.pooled]
        self.fields = [*(feature.name for feature in sparse), *self.pooled]
        self.every_column = len(columns) == len(schema.sparse)
        self.register_buffer("columns", torch.tensor(columns, dtype=torch.int64), persistent=False)
        offsets = torch.tensor([self.starts[feature.name] for feature in sparse], dtype=torch.int32)
        self.register_buffer("offsets", offsets, persistent=False)
        self._repeated = offsets.new_empty(0, len(sparse))  # the offsets of many rows, on the CPU

    def new_table(self, dim: int, std: float) -> EmbeddingTable:
        return EmbeddingTable(self.sizes, dim, std=std, oov_buckets=self.oov_buckets)

    def request(self, sparse: Tensor, sequences: Mapping[str, Jagged]) -> Request:
        """Ids of all sparse features (B, S) and of the lists -> row numbers of the table."""
        mine = sparse if self.every_column else sparse.index_select(1, self.columns)

        def rows(name: str) -> Jagged:
            jagged = sequences[name]
            return replace(jagged, values=jagged.values + self.starts[name])

        listed = [rows(name).values for name in self.listed]
        return Request(
            self._shifted(mine),
            [(rows(name), pooling) for name, pooling in self.pooled.items()],
            torch.cat(listed) if listed else None,
        )

    def _shifted(self, ids: Tensor) -> Tensor:
        """(B, S): an addition of two equal shapes is many times as fast as one that repeats a short row."""
        if ids.device.type != "cpu":
            return ids + self.offsets
        repeated = self._repeated
        if len(repeated) < len(ids):
            repeated = self._repeated = self.offsets.repeat(len(ids), 1)
        return ids + repeated[: len(ids)]

    def lists(self, listed: Tensor, sequences: Mapping[str, Jagged]) -> dict[str, Jagged]:
        """The table's listed rows (N, E), by sequence."""
        counts = [sequences[name].values.numel() for name in self.listed]
        return {
            name: replace(sequences[name], values=rows)
            for name, rows in zip(self.listed, listed.split(counts), strict=True)
        }
