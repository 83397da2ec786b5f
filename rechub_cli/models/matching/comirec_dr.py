"""ComiRec-DR, Cen et al., KDD 2020, https://arxiv.org/abs/2005.09347"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rechub_cli.batch import Batch, Output
from rechub_cli.nn.capsule import route
from rechub_cli.nn.inputs import at_least_one
from rechub_cli.nn.interests import HistoryTower, Interests, ages
from rechub_cli.nn.similarity import Similarity, nearest_interest
from rechub_cli.nn.towers import ItemVectors, item_id
from rechub_cli.schema import Schema


class ComiRecDR(nn.Module):
    """ComiRec with dynamic routing: capsules of the history are the user's interests.

    Cen et al., KDD 2020, https://arxiv.org/abs/2005.09347, section 3.2. In training the target takes the interest that
    it suits best (``select_interest``), as serving does.
    DIFF: cosines at a temperature instead of plain inner products, which learn more slowly. One
    transformation for each interest; the authors' code has one for each place and interest, which ties a weight to an
    absolute place. The user's other columns add one linear map to each interest; the paper has none.
    Shape: Batch of B users -> (B, interests, E); Batch of I items -> (I, E); E is the item id's ``embed_dim``.

    Args:
        history: which sequence of items, where the user has several.
        interests: K.
        routing_iterations: rounds of routing.
    """

    command = "train-match"
    mode = 2
    negatives = "popularity"
    loss = "softmax"

    def __init__(
        self,
        schema: Schema,
        *,
        history: str | None = None,
        interests: int = 4,
        routing_iterations: int = 3,
        normalize: bool = True,
        temperature: float = 0.05,
        learn_temperature: bool = False,
    ) -> None:
        super().__init__()
        at_least_one(interests=interests, routing_iterations=routing_iterations)
        self.schema, self.iterations = schema, routing_iterations
        self.tower = HistoryTower(schema, "comirec_dr", history)
        dim = self.tower.dim
        self.transform = nn.Parameter(torch.randn(interests, dim, dim) * dim**-0.5)
        self.interests = Interests(dim, self.tower.profile_dim)
        self.vector = ItemVectors(self.tower.embedding, item_id(schema, "comirec_dr"))
        self.similarity = Similarity(normalize=normalize, temperature=temperature, learn_temperature=learn_temperature)

    @property
    def temperature(self) -> Tensor | float:
        return self.similarity.temperature

    def embed_users(self, batch: Batch) -> Tensor:
        history, lengths, profile = self.tower(batch)
        _, inside = ages(lengths, history.shape[1])
        votes = history[:, None] @ self.transform  # (B, K, L, E)
        capsules = route(votes, votes.new_zeros(votes.shape[:3]), inside, self.iterations)
        return self.similarity.vectors(self.interests(capsules, lengths, profile))

    def embed_items(self, batch: Batch) -> Tensor:
        return self.similarity.vectors(self.vector(self.tower.embedding.item(batch)))

    def select_interest(self, users: Tensor, items: Tensor) -> Tensor:
        """The interest that suits the target best: (Q, K, E) and (Q, E) -> (Q, E)."""
        return nearest_interest(users, items)

    def forward(self, users: Batch, items: Batch) -> Output:
        return Output(self.similarity(self.embed_users(users), self.embed_items(items)))
