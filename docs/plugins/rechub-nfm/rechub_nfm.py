"""Neural factorization machine, He and Chua, SIGIR 2017, https://arxiv.org/abs/1708.05027"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from rechub_cli.batch import Batch, Output
from rechub_cli.nn.embedding import FeatureEmbedding
from rechub_cli.nn.inputs import require_pooled
from rechub_cli.nn.linear import FirstOrder
from rechub_cli.nn.mlp import MLP
from rechub_cli.schema import Schema


class NFM(nn.Module):
    """NFM: the pairwise products of all embeddings, summed to one vector, through a deep network.

    He and Chua, SIGIR 2017, https://arxiv.org/abs/1708.05027
    DIFF: numbers enter the linear and the deep part as they are.
    Shape: Batch of B rows -> logits (B, T).
    """

    def __init__(
        self,
        schema: Schema,
        *,
        hidden_dims: Sequence[int] = (64,),
        batch_norm: bool = True,
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        require_pooled(schema, "nfm")
        self.schema = schema
        n_tasks = max(1, len(schema.tasks))
        self.first_order = FirstOrder(schema, n_tasks)
        self.embedding = FeatureEmbedding(schema)
        width = self.embedding.common_dim("nfm") + self.embedding.n_dense
        self.deep = MLP(width, hidden_dims, n_tasks, batch_norm=batch_norm, dropout=dropout)

    def forward(self, batch: Batch) -> Output:
        embedded = self.embedding(batch, interact=True)
        pairs = embedded.interaction  # (B, E)
        return Output(self.first_order(batch, embedded) + self.deep(pairs, embedded.dense))
