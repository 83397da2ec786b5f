"""Wide & Deep, Cheng et al., DLRS 2016, https://arxiv.org/abs/1606.07792"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from rechub_cli.batch import Batch, Output
from rechub_cli.nn.activation import Activation
from rechub_cli.nn.embedding import FeatureEmbedding
from rechub_cli.nn.inputs import require_pooled
from rechub_cli.nn.linear import FirstOrder
from rechub_cli.nn.mlp import MLP
from rechub_cli.schema import Schema


class WideDeep(nn.Module):
    """Wide & Deep: a linear model that memorises beside a deep one that generalises.

    Cheng et al., DLRS 2016, https://arxiv.org/abs/1606.07792
    DIFF: no hand-made crosses (make a column of them, it is a feature like any other); both parts
    use the trainer's optimizer; smaller layers than the paper's 1024-512-256, with batch norm.
    Shape: Batch of B rows -> logits (B, T).
    """

    def __init__(
        self,
        schema: Schema,
        *,
        hidden_dims: Sequence[int] = (256, 128),
        activation: Activation = "relu",
        batch_norm: bool = True,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.schema = schema
        require_pooled(schema, "wide_deep")
        n_tasks = max(1, len(schema.tasks))
        self.wide = FirstOrder(schema, n_tasks)
        self.embedding = FeatureEmbedding(schema)
        self.deep = MLP(
            self.embedding.width + self.embedding.n_dense,
            hidden_dims,
            n_tasks,
            activation=activation,
            batch_norm=batch_norm,
            dropout=dropout,
        )

    def forward(self, batch: Batch) -> Output:
        embedded = self.embedding(batch, for_linear=True)
        return Output(self.wide(batch, embedded) + self.deep(*embedded.for_layers))
