"""Deep & Cross Network, Wang et al., ADKDD 2017, https://arxiv.org/abs/1708.05123"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from rechub_cli.batch import Batch, Output
from rechub_cli.nn.activation import Activation
from rechub_cli.nn.cross import CrossNet
from rechub_cli.nn.embedding import FeatureEmbedding
from rechub_cli.nn.inputs import require_pooled
from rechub_cli.nn.linear import LogitHead
from rechub_cli.nn.mlp import MLP
from rechub_cli.schema import Schema


class DCN(nn.Module):
    """Deep & Cross: feature crosses of bounded degree beside a deep network.

    Wang et al., ADKDD 2017, https://arxiv.org/abs/1708.05123
    DIFF: smaller layers than the paper's (up to 5 of 1024), with dropout.
    Shape: Batch of B rows -> logits (B, T).
    """

    def __init__(
        self,
        schema: Schema,
        *,
        n_cross_layers: int = 3,
        hidden_dims: Sequence[int] = (256, 128),
        activation: Activation = "relu",
        batch_norm: bool = True,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.schema = schema
        require_pooled(schema, "dcn")
        self.embedding = FeatureEmbedding(schema)
        width = self.embedding.width + self.embedding.n_dense
        self.cross = CrossNet(width, n_cross_layers)
        self.deep = MLP(width, hidden_dims, activation=activation, batch_norm=batch_norm, dropout=dropout)
        self.output = LogitHead(width + self.deep.out_dim, max(1, len(schema.tasks)))

    def forward(self, batch: Batch) -> Output:
        x = self.embedding(batch).all
        return Output(self.output(self.cross(x), self.deep(x)))
