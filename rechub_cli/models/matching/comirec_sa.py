"""ComiRec-SA, Cen et al., KDD 2020, https://arxiv.org/abs/2005.09347"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rechub_cli.batch import Batch, Output
from rechub_cli.nn.inputs import at_least_one
from rechub_cli.nn.interests import HistoryTower, Interests, ages
from rechub_cli.nn.similarity import Similarity, nearest_interest
from rechub_cli.nn.towers import ItemVectors, item_id
from rechub_cli.schema import Schema


class ComiRecSA(nn.Module):
    """ComiRec with self-attention: each interest is its own weighted mean of the history.

    Cen et al., KDD 2020, https://arxiv.org/abs/2005.09347, section 3.2: weights are softmax(W2 tanh(W1 (h + p))) over
    the history, with a learned vector p for each place. In training the target takes the interest that it suits best
    (``select_interest``), as serving does.
    DIFF: cosines at a temperature instead of plain inner products, which learn more slowly. Places are
    counted from the newest value back, so that one means the same in histories of all lengths. The user's other columns
    add one linear map to each interest; the paper has none.
    Shape: Batch of B users -> (B, interests, E); Batch of I items -> (I, E); E is the item id's ``embed_dim``.

    Args:
        history: which sequence of items, where the user has several.
        interests: K.
        attention_dim: units of W1; E where it is None (4 E in the authors' code).
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
        attention_dim: int | None = None,
        normalize: bool = True,
        temperature: float = 0.05,
        learn_temperature: bool = False,
    ) -> None:
        super().__init__()
        at_least_one(interests=interests, attention_dim=1 if attention_dim is None else attention_dim)
        self.schema = schema
        self.tower = HistoryTower(schema, "comirec_sa", history)
        dim = self.tower.dim
        self.places = nn.Parameter(torch.randn(self.tower.max_len, dim) * 0.05)
        self.attention = nn.Sequential(
            nn.Linear(dim, attention_dim or dim, bias=False),
            nn.Tanh(),
            nn.Linear(attention_dim or dim, interests, bias=False),
        )
        self.interests = Interests(dim, self.tower.profile_dim)
        self.vector = ItemVectors(self.tower.embedding, item_id(schema, "comirec_sa"))
        self.similarity = Similarity(normalize=normalize, temperature=temperature, learn_temperature=learn_temperature)

    @property
    def temperature(self) -> Tensor | float:
        return self.similarity.temperature

    def embed_users(self, batch: Batch) -> Tensor:
        history, lengths, profile = self.tower(batch)
        age, inside = ages(lengths, history.shape[1])
        scores = self.attention(history + F.embedding(age, self.places)).float()  # (B, L, K)
        # A finite floor: the softmax over an empty history stays finite, and its values are zero anyway.
        shares = scores.masked_fill(~inside[:, :, None], torch.finfo(scores.dtype).min).softmax(dim=1)
        vectors = self.interests(shares.transpose(1, 2) @ history.float(), lengths, profile)
        return self.similarity.vectors(vectors)

    def embed_items(self, batch: Batch) -> Tensor:
        return self.similarity.vectors(self.vector(self.tower.embedding.item(batch)))

    def select_interest(self, users: Tensor, items: Tensor) -> Tensor:
        """The interest that suits the target best: (Q, K, E) and (Q, E) -> (Q, E)."""
        return nearest_interest(users, items)

    def forward(self, users: Batch, items: Batch) -> Output:
        return Output(self.similarity(self.embed_users(users), self.embed_items(items)))
