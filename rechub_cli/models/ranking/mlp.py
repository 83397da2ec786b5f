"""A plain deep network over embeddings."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from rechub_cli.batch import Batch, Output
from rechub_cli.nn.activation import Activation
from rechub_cli.nn.embedding import FeatureEmbedding
from rechub_cli.nn.inputs import require_pooled
from rechub_cli.nn.mlp import MLP as Layers
from rechub_cli.schema import Schema


class MLP(nn.Module):
    """A deep network over all embeddings and numbers, with no explicit interaction.

    The deep part of Wide & Deep, Cheng et al., DLRS 2016, https://arxiv.org/abs/1606.07792
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
        require_pooled(schema, "mlp")
        self.embedding = FeatureEmbedding(schema)
        self.mlp = Layers(
            self.embedding.width + self.embedding.n_dense,
            hidden_dims,
            max(1, len(schema.tasks)),
            activation=activation,
            batch_norm=batch_norm,
            dropout=dropout,
        )

    def forward(self, batch: Batch) -> Output:
        embedded = self.embedding(batch, for_linear=True)
        return Output(self.mlp(*embedded.for_layers))
