"""Two towers whose fields are weighed by SENet, after Huang et al., "FiBiNET", RecSys 2019"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from rechub_cli.batch import Batch, Output
from rechub_cli.nn.activation import Activation
from rechub_cli.nn.inputs import at_least_one
from rechub_cli.nn.similarity import Similarity
from rechub_cli.nn.towers import TwoTowers
from rechub_cli.schema import Schema


class SENetDSSM(nn.Module):
    """DSSM whose towers first weigh their fields, so that noise fields fade before the layers mix everything.

    Two towers as ``dssm``; the weighing is that of FiBiNET: Huang et al., RecSys 2019,
    https://arxiv.org/abs/1905.09433, section 3.2. Both towers have their own.
    DIFF: the weights are 2 * sigmoid, not ReLU; see ``rechub_cli.nn.senet``.
    Shape: Batch of B users -> (B, E); Batch of I items -> (I, E); E is the width of the towers' last layer.

    Args:
        reduction: the weighing's inner layer has a unit for so many fields.
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
        reduction: int = 3,
        normalize: bool = True,
        temperature: float = 0.05,
        learn_temperature: bool = False,
    ) -> None:
        super().__init__()
        at_least_one(reduction=reduction)
        self.schema = schema
        self.towers = TwoTowers(
            schema,
            "senet_dssm",
            user_hidden_dims,
            item_hidden_dims,
            activation=activation,
            batch_norm=batch_norm,
            dropout=dropout,
            senet_reduction=reduction,
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
