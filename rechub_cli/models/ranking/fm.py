"""Factorization machine, Rendle, ICDM 2010, https://doi.org/10.1109/ICDM.2010.127"""

from __future__ import annotations

from torch import nn

from rechub_cli.batch import Batch, Output
from rechub_cli.nn.embedding import FeatureEmbedding
from rechub_cli.nn.fm import FM as Pairs
from rechub_cli.nn.inputs import require_pooled
from rechub_cli.nn.linear import FirstOrder
from rechub_cli.schema import Schema


class FM(nn.Module):
    """Factorization machine: a linear model plus the dot products of all pairs of embeddings.

    Rendle, ICDM 2010, https://doi.org/10.1109/ICDM.2010.127
    DIFF: numbers enter the linear part only, unless the spec embeds them.
    Shape: Batch of B rows -> logits (B, T).
    """

    def __init__(self, schema: Schema) -> None:
        super().__init__()
        self.schema = schema
        require_pooled(schema, "fm")
        n_tasks = max(1, len(schema.tasks))
        self.first_order = FirstOrder(schema, n_tasks)
        self.embedding = FeatureEmbedding(schema)
        self.pairs = Pairs(self.embedding.common_dim("fm"), n_tasks)

    def forward(self, batch: Batch) -> Output:
        embedded = self.embedding(batch, interact=True)
        return Output(self.first_order(batch, embedded) + self.pairs(embedded.interaction))
