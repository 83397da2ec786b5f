"""Sampling-bias-corrected two towers, Yi et al., RecSys 2019, https://doi.org/10.1145/3298689.3346996"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from rechub_cli.batch import Batch, Output
from rechub_cli.nn.activation import Activation
from rechub_cli.nn.similarity import Similarity
from rechub_cli.nn.towers import TwoTowers
from rechub_cli.schema import Schema


class YoutubeSBC(nn.Module):
    """Two towers of YouTube, trained on the batch's own items with the correction for how often each one comes.

    Yi et al., RecSys 2019, https://doi.org/10.1145/3298689.3346996. The spec's row weight is the paper's reward.
    DIFF: log q is that of the training data, not of a running estimate; it is subtracted after the temperature, as in
    the paper's equation 5. The last layer of a tower is linear.
    Shape: Batch of B users -> (B, E); Batch of I items -> (I, E); E is the width of the towers' last layer.
    """

    command = "train-match"
    mode = 2
    negatives = "in_batch"
    loss = "softmax"

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
        temperature: float = 0.05,
        learn_temperature: bool = False,
    ) -> None:
        super().__init__()
        self.schema = schema
        self.towers = TwoTowers(
            schema,
            "youtube_sbc",
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
