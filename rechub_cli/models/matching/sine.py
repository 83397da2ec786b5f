"""SINE, Tan et al., WSDM 2021, https://arxiv.org/abs/2102.09267"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rechub_cli.batch import Batch, Output
from rechub_cli.errors import SpecError
from rechub_cli.nn.inputs import at_least_one
from rechub_cli.nn.interests import HistoryTower, Interests, ages
from rechub_cli.nn.similarity import Similarity
from rechub_cli.nn.towers import ItemVectors, item_id
from rechub_cli.schema import Schema


class SINE(nn.Module):
    """Sparse-interest network: a few concepts of a large pool, chosen for each user, gather one interest each.

    Tan et al., WSDM 2021, https://arxiv.org/abs/2102.09267. Attention over the history chooses the concepts; each event
    is shared out among them; what the history says of the next intention weighs the interests into one vector.
    DIFF: products that a softmax takes are scaled by 1/sqrt(E), as those of normalised values would leave no gradient;
    concepts start orthogonal instead of being kept apart by a loss of their own; places are counted from the newest
    value back; the user's other columns add one linear map.
    Shape: Batch of B users -> (B, E); Batch of I items -> (I, E); E is the item id's ``embed_dim``.

    Args:
        history: which sequence of items, where the user has several.
        concepts: size of the pool.
        interests: concepts that are chosen for a user.
        attention_dim: units of each attention; 4 E where it is None.
    """

    command = "train-match"
    mode = 2
    negatives = "uniform"
    loss = "softmax"

    def __init__(
        self,
        schema: Schema,
        *,
        history: str | None = None,
        concepts: int = 50,
        interests: int = 4,
        attention_dim: int | None = None,
        normalize: bool = False,
        temperature: float = 1.0,
        learn_temperature: bool = False,
    ) -> None:
        super().__init__()
        at_least_one(interests=interests, attention_dim=1 if attention_dim is None else attention_dim)
        if concepts < interests:
            raise SpecError(f"concepts: {interests} interests need as many concepts, got {concepts}")
        self.schema, self.k = schema, interests
        self.tower = HistoryTower(schema, "sine", history)
        dim = self.tower.dim
        units = attention_dim or 4 * dim
        self.positions = nn.Parameter(torch.randn(self.tower.max_len, dim) * 0.05)
        self.concepts = nn.Parameter(nn.init.orthogonal_(torch.empty(concepts, dim)))
        self.choose, self.within, self.intend = (_attention(dim, units, width) for width in (1, interests, 1))
        self.event = nn.Sequential(nn.Linear(dim, dim, bias=False), nn.LayerNorm(dim))
        self.of_concept, self.of_interest, self.of_intention = (nn.LayerNorm(dim) for _ in range(3))
        self.newcomer = Interests(dim, self.tower.profile_dim)
        self.vector = ItemVectors(self.tower.embedding, item_id(schema, "sine"))
        self.similarity = Similarity(normalize=normalize, temperature=temperature, learn_temperature=learn_temperature)

    @property
    def temperature(self) -> Tensor | float:
        return self.similarity.temperature

    def embed_users(self, batch: Batch) -> Tensor:
        history, lengths, profile = self.tower(batch)
        age, inside = ages(lengths, history.shape[1])
        with torch.autocast(history.device.type, enabled=False):
            history, scale = history.float(), history.shape[2] ** -0.5
            events = history + F.embedding(age, self.positions) * inside[:, :, None]  # (B, L, E)

            # The user's concepts (B, K, E).
            gist = self._over_time(self.choose(events), inside).transpose(1, 2) @ events  # (B, 1, E)
            match, chosen = (gist.squeeze(1) @ self.concepts.t()).topk(self.k)
            concepts = F.embedding(chosen, self.concepts) * match.sigmoid()[:, :, None]

            # Each event's share of each concept, and each concept's interest (B, K, E).
            of_event = (self.event(events) @ self.of_concept(concepts).transpose(1, 2) * scale).softmax(dim=2)
            shares = of_event * self._over_time(self.within(events), inside)  # (B, L, K)
            interests = self.of_interest(shares.transpose(1, 2) @ events)

            # The next intention weighs the interests.
            intents = of_event @ concepts  # (B, L, E)
            intention = self.of_intention(self._over_time(self.intend(intents), inside).transpose(1, 2) @ intents)
            weights = (intention @ interests.transpose(1, 2) * scale).softmax(dim=2)  # (B, 1, K)
            return self.similarity.vectors(self.newcomer(weights @ interests, lengths, profile).squeeze(1))

    @staticmethod
    def _over_time(scores: Tensor, inside: Tensor) -> Tensor:
        """A softmax over the places of the history that are none of padding: (B, L, W) -> (B, L, W)."""
        # A finite floor: the softmax over an empty history stays finite, and its values are zero anyway.
        return scores.masked_fill(~inside[:, :, None], torch.finfo(scores.dtype).min).softmax(dim=1)

    def embed_items(self, batch: Batch) -> Tensor:
        return self.similarity.vectors(self.vector(self.tower.embedding.item(batch)))

    def forward(self, users: Batch, items: Batch) -> Output:
        return Output(self.similarity(self.embed_users(users), self.embed_items(items)))


def _attention(dim: int, units: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(dim, units, bias=False), nn.Tanh(), nn.Linear(units, width, bias=False))
