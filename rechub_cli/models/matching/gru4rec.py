"""GRU4Rec, Hidasi et al., ICLR 2016, https://arxiv.org/abs/1511.06939"""

from __future__ import annotations

from torch import Tensor, nn

from rechub_cli.batch import Batch, Jagged, Output
from rechub_cli.nn.dropout import Dropout
from rechub_cli.nn.events import EventTower, Prefixes
from rechub_cli.nn.inputs import at_least_one, shares_less_than_one
from rechub_cli.nn.recurrent import JaggedGRU
from rechub_cli.nn.similarity import Similarity
from rechub_cli.schema import Schema


class GRU4Rec(nn.Module):
    """A recurrent network over the user's events: the state after each is a user vector for the next item.

    Hidasi et al., ICLR 2016, https://arxiv.org/abs/1511.06939. All states come from one pass. A history without events
    gives the zero vector.
    DIFF: items are looked up in one table as inputs and as outputs (the "constrained embedding" of Hidasi and
    Karatzoglou, CIKM 2018, https://arxiv.org/abs/1706.03847), so a linear layer brings a state to their width; whole
    histories instead of session-parallel batches; a softmax over all items by default.
    Shape: Batch of B users -> (B, E); Batch of I items -> (I, E); E is the item id's ``embed_dim``.

    Args:
        history: which sequence of items, where the user has several.
        hidden_dim: width of the state.
        n_layers: layers of recurrent units.
        dropout: share of the values dropped: of the events, between layers, of the states.
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
        hidden_dim: int = 128,
        n_layers: int = 1,
        dropout: float = 0.2,
        normalize: bool = False,
        temperature: float = 1.0,
        learn_temperature: bool = False,
    ) -> None:
        super().__init__()
        at_least_one(hidden_dim=hidden_dim, n_layers=n_layers)
        shares_less_than_one(dropout=dropout)
        self.schema = schema
        self.tower = EventTower(schema, "gru4rec", history, std=0.05)
        self.dropout = Dropout(dropout)
        self.recurrent = JaggedGRU(self.tower.dim, hidden_dim, n_layers, dropout=dropout if n_layers > 1 else 0.0)
        self.output = nn.Linear(hidden_dim, self.tower.dim, bias=False)
        nn.init.xavier_uniform_(self.output.weight)
        self.similarity = Similarity(normalize=normalize, temperature=temperature, learn_temperature=learn_temperature)

    @property
    def temperature(self) -> Tensor | float:
        return self.similarity.temperature

    def _states(self, batch: Batch) -> Jagged:
        events = self.tower.events(batch)
        states = self.recurrent(self.dropout(events.values), events.offsets)
        return Jagged(self.output(self.dropout(states)), events.offsets)

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
