"""DeepFM, Guo et al., IJCAI 2017, https://arxiv.org/abs/1703.04247"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from rechub_cli.batch import Batch, Output
from rechub_cli.nn.activation import Activation
from rechub_cli.nn.embedding import FeatureEmbedding
from rechub_cli.nn.fm import FM
from rechub_cli.nn.inputs import require_pooled
from rechub_cli.nn.linear import FirstOrder
from rechub_cli.nn.mlp import MLP
from rechub_cli.schema import Schema


class DeepFM(nn.Module):
    """DeepFM: a factorization machine and a deep network over the same embeddings, added.

    Guo et al., IJCAI 2017, https://arxiv.org/abs/1703.04247
    DIFF: numbers enter the linear and the deep part, and the pairwise part only if the spec embeds
    them; batch norm, smaller layers and less dropout than the paper's 400-400-400 with 0.5.
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
        require_pooled(schema, "deepfm")
        n_tasks = max(1, len(schema.tasks))
        self.first_order = FirstOrder(schema, n_tasks)
        self.embedding = FeatureEmbedding(schema)
        self.fm = FM(self.embedding.common_dim("deepfm"), n_tasks)
        self.deep = MLP(
            self.embedding.width + self.embedding.n_dense,
            hidden_dims,
            n_tasks,
            activation=activation,
            batch_norm=batch_norm,
            dropout=dropout,
        )

    def forward(self, batch: Batch) -> Output:
        embedded = self.embedding(batch, for_linear=True, interact=True)
        deep = self.deep(*embedded.for_layers)
        return Output(self.first_order(batch, embedded) + self.fm(embedded.interaction) + deep)
