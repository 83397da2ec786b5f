"""Several vectors of one user: the history they are made of, and what the user's other columns add."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from rechub_cli.batch import Batch, Jagged
from rechub_cli.nn.inputs import require_pooled
from rechub_cli.nn.linear import ConcatLinear
from rechub_cli.nn.towers import IdAndMore, TowerEmbedding, history_of
from rechub_cli.schema import Schema


class HistoryTower(nn.Module):
    """A user tower that keeps the history of items whole, beside the embedding of the item tower.

    A history of several columns is one sequence: the item ids' rows plus a linear map of the other columns' rows. The
    user's other columns are a profile.

    Args:
        schema: the columns of both towers.
        model: for messages.
        history: which sequence, where the user has several of items.
        std: deviation of the initial rows.

    Attributes:
        embedding: of both towers.
        dim: width of the values of the history.
        max_len: no history is longer.
        profile_dim: width of the profile.

    Raises: SpecError where there is no history of items, or another sequence is not pooled.
    """

    def __init__(self, schema: Schema, model: str, history: str | None, *, std: float = 0.05) -> None:
        super().__init__()
        first, *aligned = history_of(schema, model, history)
        whole = {feature.name for feature in (first, *aligned)}
        schema = schema.inputs
        require_pooled(schema.with_features(f for f in schema.features if f.name not in whole), model)
        schema = schema.with_features(replace(f, pooling="none") if f.name in whole else f for f in schema.features)
        self.embedding = TowerEmbedding(schema, std=std)
        self.dim, self.max_len = first.embed_dim, first.max_len
        self.history, self.aligned = first.name, [feature.name for feature in aligned]
        self.values = IdAndMore(self.dim, sum(feature.embed_dim for feature in aligned))
        self.profile_dim = self.embedding.users.width + self.embedding.users.n_dense

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Rows laid out by ``schema.user``.

        Returns: the history (B, L, dim), oldest first and filled up with zeros; its lengths (B,), L at least 1 and at
        least the longest; the profile (B, profile_dim).
        """
        embedded = self.embedding.user(batch)
        ids = embedded.sequences[self.history]
        values = self.values(ids.values, *(embedded.sequences[name].values for name in self.aligned))
        return pad(Jagged(values, ids.offsets)), ids.lengths, embedded.all


def pad(history: Jagged) -> Tensor:
    """Rows of N vectors (N, E) -> (B, L, E), zeros after each row's last one; L is at least 1."""
    lengths = history.lengths
    longest = max(1, int(lengths.max())) if len(history) else 1
    within = torch.arange(history.values.shape[0], device=lengths.device) - history.offsets[:-1][history.rows]
    padded = history.values.new_zeros(len(history) * longest, history.values.shape[1])
    return padded.index_copy(0, history.rows * longest + within, history.values).unflatten(0, (-1, longest))


def ages(lengths: Tensor, longest: int) -> tuple[Tensor, Tensor]:
    """How many newer values each place of a padded history has, int64 (B, L), 0 where it is padding; and what is not
    padding, bool (B, L)."""
    column = torch.arange(longest, device=lengths.device)
    age = lengths[:, None] - 1 - column
    return age.clamp(min=0), age >= 0


class Interests(nn.Module):
    """What routing or attention found in a history, as the user's vectors.

    The profile adds one linear map of itself to each interest. Users without history have one interest, learned for all
    of them; their other interests are absent: zeros.
    Shape: interests (B, K, dim), lengths (B,), profile (B, profile_dim) -> (B, K, dim), float32.
    """

    def __init__(self, dim: int, profile_dim: int, *, std: float = 0.05) -> None:
        super().__init__()
        self.newcomer = nn.Parameter(torch.randn(dim) * std)
        self.profile = ConcatLinear(profile_dim, dim, bias=False) if profile_dim else None

    def forward(self, interests: Tensor, lengths: Tensor, profile: Tensor) -> Tensor:
        known, first = (lengths > 0)[:, None], torch.arange(interests.shape[1], device=interests.device) == 0
        vectors = torch.where(known[:, :, None], interests.float(), self.newcomer)
        if self.profile is not None:
            vectors = vectors + self.profile(profile)[:, None]
        return vectors * (known | first)[:, :, None]
