"""SASRec, Kang and McAuley, ICDM 2018, https://arxiv.org/abs/1808.09781"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from rechub_cli.batch import Batch, Jagged, Output
from rechub_cli.nn.events import EventTower, Prefixes
from rechub_cli.nn.inputs import at_least_one, shares_less_than_one
from rechub_cli.nn.similarity import Similarity
from rechub_cli.nn.transformer import CausalEncoder
from rechub_cli.schema import Schema

STD = 0.02


class SASRec(nn.Module):
    """Self-attentive sequential recommendation: a causal transformer over the user's events.

    Kang and McAuley, ICDM 2018, https://arxiv.org/abs/1808.09781. The state after each event is a user vector for the
    next item; all of them come from one pass. A history without events gives the zero vector.
    DIFF: by default places are counted from the oldest event (the paper: from the newest of a padded window), and the
    loss is a softmax, which gives far better lists than one sampled negative
    (Klenitskiy and Vasilev, RecSys 2023, https://arxiv.org/abs/2309.07602).
    Shape: Batch of B users -> (B, E); Batch of I items -> (I, E); E is the item id's ``embed_dim``.

    Args:
        history: which sequence of items, where the user has several.
        n_blocks: blocks of attention and pointwise layers.
        n_heads: heads of attention; they divide E.
        hidden_dim: width of the pointwise layers; E where it is None, as in the paper.
        dropout: share of the values dropped: of the events, of what attention gives, in the pointwise layers.
        norm_first: normalise what each part of a block sees, not what it adds up to.
        places: whether learned places are counted from the oldest event of a row or, as in the paper, from its newest.
            That one's vector then always has the last place; in training, where a row has a query after each of its
            events, the others' places tell how many events follow.
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
        n_blocks: int = 2,
        n_heads: int = 1,
        hidden_dim: int | None = None,
        dropout: float = 0.2,
        norm_first: bool = True,
        places: Literal["oldest", "newest"] = "oldest",
        normalize: bool = False,
        temperature: float = 1.0,
        learn_temperature: bool = False,
    ) -> None:
        super().__init__()
        at_least_one(n_blocks=n_blocks, hidden_dim=1 if hidden_dim is None else hidden_dim)
        shares_less_than_one(dropout=dropout)
        self.schema = schema
        self.tower = EventTower(schema, "sasrec", history, std=STD)
        self.encoder = CausalEncoder(
            self.tower.dim,
            self.tower.max_len,
            n_blocks=n_blocks,
            n_heads=n_heads,
            hidden_dim=hidden_dim or self.tower.dim,
            dropout=dropout,
            norm_first=norm_first,
            std=STD,
            from_newest=places == "newest",
        )
        self.similarity = Similarity(normalize=normalize, temperature=temperature, learn_temperature=learn_temperature)

    @property
    def temperature(self) -> Tensor | float:
        return self.similarity.temperature

    def _states(self, batch: Batch) -> Jagged:
        events = self.tower.events(batch)
        scaled = events.values * self.tower.dim**0.5
        return Jagged(self.encoder(scaled, events.offsets), events.offsets)

    def encode_positions(self, batch: Batch) -> Tensor:
        """(Q, E): the state before each of the batch's targets."""
        states = self._states(batch)
        return self.similarity.vectors(Prefixes.before_targets(states.offsets, batch.targets).last(states.values))

    def embed_users(self, batch: Batch) -> Tensor:
        states = self._states(batch)
        return self.similarity.vectors(Prefixes.whole(states.offsets).last(states.values))

    def embed_items(self, batch: Batch) -> Tensor:
        return self.similarity.vectors(self.tower.items(batch))

    def forward(self, users: Batch, items: Batch) -> Output:
        return Output(self.similarity(self.embed_users(users), self.embed_items(items)))
