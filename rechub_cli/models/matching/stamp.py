"""STAMP, Liu et al., KDD 2018, https://doi.org/10.1145/3219819.3219950"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rechub_cli.batch import Batch, Output
from rechub_cli.nn.events import EventTower, Prefixes
from rechub_cli.nn.prefix_attention import PrefixAttention
from rechub_cli.nn.similarity import Similarity
from rechub_cli.schema import Schema


class STAMP(nn.Module):
    """Short-term attention and memory priority, for sessions: the last event against the whole session.

    Liu et al., KDD 2018, https://doi.org/10.1145/3219819.3219950. Events are weighed by their match with the last one
    and with their mean; a layer each for that sum and for the last event, whose product is compared with the items.
    All prefixes come from one pass over a session. A session without events gives the zero vector.
    DIFF: the mean is added to the weighed sum, as in the authors' code; the output layers have no bias.
    Shape: Batch of B users -> (B, E); Batch of I items -> (I, E); E is the item id's ``embed_dim``.

    Args:
        history: which sequence of items, where the user has several.
    """

    command = "train-match"
    sequential = True
    mode = 2
    negatives = "full"
    loss = "softmax"

    def __init__(
        self,
        schema: Schema,
        *,
        history: str | None = None,
        normalize: bool = False,
        temperature: float = 1.0,
        learn_temperature: bool = False,
    ) -> None:
        super().__init__()
        self.schema = schema
        self.tower = EventTower(schema, "stamp", history, std=0.05)
        dim = self.tower.dim
        self.key = nn.Linear(dim, dim)
        self.of_last, self.of_mean = nn.Linear(dim, dim, bias=False), nn.Linear(dim, dim, bias=False)
        self.attention = PrefixAttention(dim)
        self.general, self.current = nn.Linear(dim, dim, bias=False), nn.Linear(dim, dim, bias=False)
        self.similarity = Similarity(normalize=normalize, temperature=temperature, learn_temperature=learn_temperature)

    @property
    def temperature(self) -> Tensor | float:
        return self.similarity.temperature

    def encode_positions(self, batch: Batch) -> Tensor:
        """(Q, E): the session before each of the batch's targets."""
        history = batch.sequences[self.tower.history]
        return self._encode(batch, Prefixes.before_targets(history.offsets, batch.targets))

    def embed_users(self, batch: Batch) -> Tensor:
        return self._encode(batch, Prefixes.whole(batch.sequences[self.tower.history].offsets))

    def _encode(self, batch: Batch, prefixes: Prefixes) -> Tensor:
        values = self.tower.events(batch).values
        places, last = prefixes.events(), prefixes.last(values)
        mean = F.embedding_bag(places.values, values, places.offsets, mode="mean", include_last_offset=True)
        purpose = self.attention(self.of_last(last) + self.of_mean(mean), self.key(values), values, prefixes)
        vectors = torch.tanh(self.general(purpose + mean)) * torch.tanh(self.current(last))
        return self.similarity.vectors(vectors)

    def embed_items(self, batch: Batch) -> Tensor:
        return self.similarity.vectors(self.tower.items(batch))

    def forward(self, users: Batch, items: Batch) -> Output:
        return Output(self.similarity(self.embed_users(users), self.embed_items(items)))
