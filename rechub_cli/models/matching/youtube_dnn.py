"""YoutubeDNN, Covington et al., RecSys 2016, https://research.google/pubs/pub45530/"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from rechub_cli.batch import Batch, Output
from rechub_cli.nn.activation import Activation
from rechub_cli.nn.inputs import require_pooled
from rechub_cli.nn.similarity import Similarity
from rechub_cli.nn.towers import ItemVectors, Tower, TowerEmbedding, item_id
from rechub_cli.schema import Schema


class YoutubeDNN(nn.Module):
    """The candidate generator of YouTube: an MLP over pooled histories and the profile, against item embeddings.

    Covington et al., RecSys 2016, https://research.google/pubs/pub45530/, section 3. The user's vector is what a
    softmax over all items takes its inner products with.
    DIFF: cosines at a temperature instead of plain inner products, which learn more slowly. The
    item's vector is also the row that histories look up where they share the item's id (the paper has two
    tables); an item's other columns add a linear map to it; the last layer of the user tower is linear.
    Shape: Batch of B users -> (B, E); Batch of I items -> (I, E); E is the item id's ``embed_dim``.
    """

    command = "train-match"
    mode = 2
    negatives = "popularity"
    loss = "softmax"

    def __init__(
        self,
        schema: Schema,
        *,
        hidden_dims: Sequence[int] = (128, 64),
        activation: Activation = "relu",
        batch_norm: bool = False,
        dropout: float = 0.0,
        normalize: bool = True,
        temperature: float = 0.05,
        learn_temperature: bool = False,
    ) -> None:
        super().__init__()
        self.schema = schema
        require_pooled(schema.inputs, "youtube_dnn")
        self.embedding = TowerEmbedding(schema)
        self.vector = ItemVectors(self.embedding, item_id(schema, "youtube_dnn"))
        self.user = Tower(
            self.embedding.users,
            "hidden_dims",
            (*hidden_dims, self.vector.dim),
            activation=activation,
            batch_norm=batch_norm,
            dropout=dropout,
        )
        self.similarity = Similarity(normalize=normalize, temperature=temperature, learn_temperature=learn_temperature)

    @property
    def temperature(self) -> Tensor | float:
        return self.similarity.temperature

    def embed_users(self, batch: Batch) -> Tensor:
        return self.similarity.vectors(self.user(self.embedding.user(batch)))

    def embed_items(self, batch: Batch) -> Tensor:
        return self.similarity.vectors(self.vector(self.embedding.item(batch)))

    def forward(self, users: Batch, items: Batch) -> Output:
        return Output(self.similarity(self.embed_users(users), self.embed_items(items)))
