"""NARM, Li et al., CIKM 2017, https://arxiv.org/abs/1711.04725"""

from __future__ import annotations

from torch import Tensor, nn

from rechub_cli.batch import Batch, Output
from rechub_cli.nn.dropout import Dropout
from rechub_cli.nn.events import EventTower, Prefixes
from rechub_cli.nn.inputs import at_least_one, shares_less_than_one
from rechub_cli.nn.linear import ConcatLinear
from rechub_cli.nn.prefix_attention import PrefixAttention
from rechub_cli.nn.recurrent import JaggedGRU
from rechub_cli.nn.similarity import Similarity
from rechub_cli.schema import Schema


class NARM(nn.Module):
    """Neural attentive recommendation machine, for sessions: where a session is, and what it is for.

    Li et al., CIKM 2017, https://arxiv.org/abs/1711.04725. The state of a recurrent network (where) beside all states
    so far, weighed by their match with it (what for); a bilinear decoder compares both with the items. All states come
    from one pass over a session. A session without events gives the zero vector.
    Shape: Batch of B users -> (B, E); Batch of I items -> (I, E); E is the item id's ``embed_dim``.

    Args:
        history: which sequence of items, where the user has several.
        hidden_dim: width of the recurrent state.
        embedding_dropout: share of the events' values dropped.
        session_dropout: share of the session's values dropped.
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
        hidden_dim: int = 100,
        embedding_dropout: float = 0.25,
        session_dropout: float = 0.5,
        normalize: bool = False,
        temperature: float = 1.0,
        learn_temperature: bool = False,
    ) -> None:
        super().__init__()
        at_least_one(hidden_dim=hidden_dim)
        shares_less_than_one(embedding_dropout=embedding_dropout, session_dropout=session_dropout)
        self.schema = schema
        self.tower = EventTower(schema, "narm", history, std=0.05)
        self.embedding_dropout, self.session_dropout = Dropout(embedding_dropout), Dropout(session_dropout)
        self.recurrent = JaggedGRU(self.tower.dim, hidden_dim)
        self.query = ConcatLinear(hidden_dim, hidden_dim, bias=False)
        self.key = ConcatLinear(hidden_dim, hidden_dim, bias=False)
        self.attention = PrefixAttention(hidden_dim)
        self.decoder = ConcatLinear(2 * hidden_dim, self.tower.dim, bias=False)
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
        events = self.tower.events(batch)
        states = self.recurrent(self.embedding_dropout(events.values), events.offsets)
        where = prefixes.last(states)
        purpose = self.attention(self.query(where), self.key(states), states, prefixes)
        return self.similarity.vectors(self.decoder(self.session_dropout(where), self.session_dropout(purpose)))

    def embed_items(self, batch: Batch) -> Tensor:
        return self.similarity.vectors(self.tower.items(batch))

    def forward(self, users: Batch, items: Batch) -> Output:
        return Output(self.similarity(self.embed_users(users), self.embed_items(items)))
