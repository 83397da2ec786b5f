"""Embedding-based retrieval at Facebook, Huang et al., KDD 2020, https://arxiv.org/abs/2006.11632"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from rechub_cli.batch import Batch, Output
from rechub_cli.nn.activation import Activation
from rechub_cli.nn.similarity import Similarity
from rechub_cli.nn.towers import TwoTowers
from rechub_cli.schema import Schema


class FacebookDSSM(nn.Module):
    """Embedding-based retrieval at Facebook: two towers, the cosine, and pairs that a margin keeps apart.

    Huang et al., KDD 2020, https://arxiv.org/abs/2006.11632, section 2: each positive against random items, by a
    triplet loss on the cosine.
    DIFF: ids and numbers instead of character n-grams; the last layer of a tower is linear.
    Shape: Batch of B users -> (B, E); Batch of I items -> (I, E); E is the width of the towers' last layer.
    """

    command = "train-match"
    mode = 1
    negatives = "uniform"
    loss = "hinge"

    def __init__(
        self,
        schema: Schema,
        *,
        user_hidden_dims: Sequence[int] = (128, 64),
        item_hidden_dims: Sequence[int] = (128, 64),
        activation: Activation = "relu",
        batch_norm: bool = False,
        dropout: float = 0.0,
        normalize: bool = True,
        temperature: float = 1.0,
        learn_temperature: bool = False,
    ) -> None:
        super().__init__()
        self.schema = schema
        self.towers = TwoTowers(
            schema,
            "facebook_dssm",
            user_hidden_dims,
            item_hidden_dims,
            activation=activation,
            batch_norm=batch_norm,
            dropout=dropout,
        )
        self.similarity = Similarity(normalize=normalize, temperature=temperature, learn_temperature=learn_temperature)

    @property
    def temperature(self) -> Tensor | float:
        return self.similarity.temperature

    def embed_users(self, batch: Batch) -> Tensor:
        return self.similarity.vectors(self.towers.users(batch))

    def embed_items(self, batch: Batch) -> Tensor:
        return self.similarity.vectors(self.towers.items(batch))

    def forward(self, users: Batch, items: Batch) -> Output:
        return Output(self.similarity(self.embed_users(users), self.embed_items(items)))
