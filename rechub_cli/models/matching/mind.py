"""MIND, Li et al., CIKM 2019, https://arxiv.org/abs/1904.08030"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from rechub_cli.batch import Batch, Output
from rechub_cli.errors import SpecError
from rechub_cli.nn.activation import Activation
from rechub_cli.nn.capsule import route
from rechub_cli.nn.inputs import at_least_one
from rechub_cli.nn.interests import HistoryTower, ages
from rechub_cli.nn.similarity import Similarity, interest_scores
from rechub_cli.nn.towers import ItemVectors, item_id, tower_mlp
from rechub_cli.schema import Schema


class MIND(nn.Module):
    """Multi-interest network with dynamic routing: capsules gather the history, a tower makes each a user vector.

    Li et al., CIKM 2019, https://arxiv.org/abs/1904.08030. A user of n past items has
    max(1, min(interests, floor(log2 n))) interests; the others are zero. In training the target pays attention to the
    interests (``select_interest``); serving takes the nearest one.
    DIFF: cosines at a temperature instead of plain inner products. Routing logits are drawn once from N(0, 1) for each
    age in the history and kept, where the paper draws them again for each user: the same history always gives the same
    vectors. Label-aware attention is softmax(power * logit) where the paper raises the inner product to that power,
    which asks for positive ones; towards 0 and infinity they mean the same. The tower ends in a linear layer. Numbers
    enter with the profile.
    Shape: Batch of B users -> (B, interests, E); Batch of I items -> (I, E); E is the item id's ``embed_dim``.

    Args:
        history: which sequence of items, where the user has several.
        interests: K, at most so many for a user.
        routing_iterations: rounds of routing.
        dynamic_interests: fewer interests for short histories; else K for all.
        attention_power: how much a target prefers the interest it suits best; the higher, the harder.
        hidden_dims: layers of the tower after the capsules; a linear one of width E follows.
    """

    command = "train-match"
    mode = 2
    negatives = "popularity"
    loss = "softmax"

    first_logits: Tensor

    def __init__(
        self,
        schema: Schema,
        *,
        history: str | None = None,
        interests: int = 4,
        routing_iterations: int = 3,
        dynamic_interests: bool = True,
        attention_power: float = 1.0,
        hidden_dims: Sequence[int] = (128,),
        activation: Activation = "relu",
        dropout: float = 0.0,
        normalize: bool = True,
        temperature: float = 0.05,
        learn_temperature: bool = False,
    ) -> None:
        super().__init__()
        at_least_one(interests=interests, routing_iterations=routing_iterations)
        if attention_power <= 0:
            raise SpecError(f"attention_power: must be above 0, got {attention_power}")
        self.schema = schema
        self.iterations, self.dynamic, self.power = routing_iterations, dynamic_interests, attention_power
        self.tower = HistoryTower(schema, "mind", history)
        dim = self.tower.dim
        self.bilinear = nn.Linear(dim, dim, bias=False)
        self.head = tower_mlp(
            "hidden_dims", dim + self.tower.profile_dim, (*hidden_dims, dim), activation=activation, dropout=dropout
        )
        self.vector = ItemVectors(self.tower.embedding, item_id(schema, "mind"))
        self.similarity = Similarity(normalize=normalize, temperature=temperature, learn_temperature=learn_temperature)
        self.register_buffer("first_logits", torch.randn(interests, self.tower.max_len))

    @property
    def temperature(self) -> Tensor | float:
        return self.similarity.temperature

    def embed_users(self, batch: Batch) -> Tensor:
        history, lengths, profile = self.tower(batch)
        present = self._present(lengths)  # (B, K)
        age, inside = ages(lengths, history.shape[1])
        logits = self.first_logits[:, age].transpose(0, 1).masked_fill(~present[:, :, None], -torch.inf)
        capsules = route(self.bilinear(history)[:, None], logits, inside, self.iterations)
        count = present.shape[1]
        rows = profile.repeat_interleave(count, dim=0, output_size=len(profile) * count)
        vectors = self.head(capsules.flatten(0, 1), rows).unflatten(0, (-1, count))
        return self.similarity.vectors(vectors * present[:, :, None])

    def embed_items(self, batch: Batch) -> Tensor:
        return self.similarity.vectors(self.vector(self.tower.embedding.item(batch)))

    def select_interest(self, users: Tensor, items: Tensor) -> Tensor:
        """Label-aware attention: interests (Q, K, E) and targets (Q, E) -> (Q, E)."""
        weights = interest_scores(users * (self.power / self.temperature), items).softmax(dim=1)
        return (weights[:, :, None] * users).sum(dim=1)

    def forward(self, users: Batch, items: Batch) -> Output:
        return Output(self.similarity(self.embed_users(users), self.embed_items(items)))

    def _present(self, lengths: Tensor) -> Tensor:
        """Which interests a user of so many past items has: bool (B, K)."""
        number = torch.arange(self.first_logits.shape[0], device=lengths.device)
        if not self.dynamic:
            return number.expand(len(lengths), -1) >= 0
        return number < lengths.clamp(min=2).double().log2().floor()[:, None]
