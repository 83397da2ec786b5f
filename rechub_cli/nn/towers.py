"""The two towers of a retrieval model: their columns as vectors, over one set of embedding rows."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from rechub_cli.batch import Batch
from rechub_cli.errors import SpecError
from rechub_cli.nn.embedding import Embedded, FeatureEmbedding
from rechub_cli.nn.inputs import require_pooled, target_of
from rechub_cli.nn.linear import ConcatLinear, LastLinear
from rechub_cli.nn.mlp import MLP
from rechub_cli.nn.senet import SENet
from rechub_cli.schema import Feature, Schema


class TowerEmbedding(nn.Module):
    """The columns of both towers as embedding vectors.

    There is one set of tables: a user's history that ``shares`` the item's id looks up the item's own rows. Columns of
    role ``negatives`` are no input.

    Args:
        schema: the columns of both towers.
        std: deviation of the initial rows. Rows that start far smaller leave cosines to chance for the first epochs.

    Attributes:
        users: fields and widths of the user tower.
        items: fields and widths of the item tower.

    Raises: SpecError where a tower has no column.
    """

    def __init__(self, schema: Schema, *, std: float = 0.05) -> None:
        super().__init__()
        inputs = schema.inputs
        for tower in ("user", "item"):
            if not inputs.tower(tower).features:
                raise SpecError(f"features: none belongs to the {tower} tower; say `tower: {tower}` for at least one")
        self.tables = FeatureEmbedding(inputs, std=std).tables
        self.users = FeatureEmbedding(inputs.user, tables=self.tables)
        self.items = FeatureEmbedding(inputs.item, tables=self.tables)

    def user(self, batch: Batch) -> Embedded:
        """Rows laid out by ``schema.user``."""
        return self.users(batch, tables=self.tables)

    def item(self, batch: Batch) -> Embedded:
        """Rows laid out by ``schema.item``: a catalogue, or a part of it."""
        return self.items(batch, tables=self.tables)


def tower_mlp(
    option: str,
    in_dim: int,
    hidden_dims: Sequence[int],
    *,
    activation: str = "relu",
    batch_norm: bool = False,
    dropout: float = 0.0,
) -> MLP:
    """The layers of a tower; the last one is linear and float32, so that vectors point in all directions.

    Raises: SpecError, which names ``option``, where there are no layers.
    """
    if not hidden_dims:
        raise SpecError(f"{option}: a tower needs at least one layer; the last is the width of its vectors")
    *hidden, dim = hidden_dims
    return MLP(in_dim, hidden, dim, activation=activation, batch_norm=batch_norm, dropout=dropout, last=LastLinear)


def item_id(schema: Schema, model: str) -> Feature:
    """The id among the columns of the item tower: the first one that a user's sequence looks up, or simply the first.

    Raises: SpecError where the item tower has no sparse feature.
    """
    ids = schema.item.inputs.sparse
    if not ids:
        raise SpecError(f"{model} needs the item's id: a sparse feature with `tower: item`")
    looked_up = {sequence.table for sequence in schema.user.inputs.sequences}
    return next((feature for feature in ids if feature.table in looked_up), ids[0])


def history_of(schema: Schema, model: str, name: str | None = None) -> tuple[Feature, ...]:
    """The user's history of items: the sequence that shares the item's id, then the sequences aligned with it.

    Args:
        schema: the columns of both towers.
        model: for the message.
        name: which one, where there are several; the feature's name, or that of its ``history``.

    Raises: SpecError where there is none, or where ``name`` is needed or names none.
    """
    item = item_id(schema, model)
    sequences = schema.user.inputs.sequences
    found = [feature for feature in sequences if target_of(Schema((item,)), feature) is not None]
    if not found:
        raise SpecError(
            f"{model} needs the user's history of items: a sequence that shares the item's id, e.g. "
            f"features.hist: {{type: history, of: {item.name}}}"
        )
    named = [feature for feature in found if name in (None, feature.name, feature.history)]
    if len(named) != 1:
        names = ", ".join(feature.name for feature in found)
        problem = f"history: {name} is no history of items" if name else f"{model} takes one history of items"
        raise SpecError(f"{problem}; say model.params.history: one of {names}")
    (first,) = named
    return first, *(f for f in sequences if f is not first and f.history is not None and f.history == first.history)


class IdAndMore(nn.Module):
    """An id's vector plus a linear map of the columns beside it: the id's own vector where there are none.

    Shape: (N, dim), (N, C1), (N, C2), ... with C1 + C2 + ... = more -> (N, dim), float32.
    """

    def __init__(self, dim: int, more: int) -> None:
        super().__init__()
        self.more = ConcatLinear(more, dim, bias=False) if more else None

    def forward(self, ids: Tensor, *more: Tensor) -> Tensor:
        return ids.float() if self.more is None else ids.float() + self.more(*more)


class ItemVectors(nn.Module):
    """Item vectors in the space of the history's ids: the id's embedding plus a linear map of the item's other columns.

    Args:
        embedding: of both towers.
        item: the item's id.

    Attributes:
        dim: E, the id's own width.

    Shape: ``TowerEmbedding.item`` of I rows -> (I, E), float32.
    """

    def __init__(self, embedding: TowerEmbedding, item: Feature) -> None:
        super().__init__()
        self.item, self.dim = item.name, item.embed_dim
        self.others = [name for name in embedding.items.fields if name != item.name]
        self.vector = IdAndMore(self.dim, embedding.items.width - self.dim + embedding.items.n_dense)

    def forward(self, embedded: Embedded) -> Tensor:
        others = [embedded.field(name) for name in self.others]
        return self.vector(embedded.field(self.item), *others, embedded.dense)


class Tower(nn.Module):
    """The columns of one tower through the layers of an MLP.

    Args:
        fields: the tower's columns.
        option: the model's option that ``hidden_dims`` is.
        hidden_dims: units of the layers; the last is the width of the vectors.
        senet_reduction: weigh the fields first (``SENet``).

    Shape: what ``fields`` says of B rows -> (B, hidden_dims[-1]), float32.
    """

    def __init__(
        self,
        fields: FeatureEmbedding,
        option: str,
        hidden_dims: Sequence[int],
        *,
        activation: str,
        batch_norm: bool,
        dropout: float,
        senet_reduction: int | None = None,
    ) -> None:
        super().__init__()
        self.senet = SENet(fields.dims, senet_reduction) if senet_reduction and fields.dims else None
        self.mlp = tower_mlp(
            option,
            fields.width + fields.n_dense,
            hidden_dims,
            activation=activation,
            batch_norm=batch_norm,
            dropout=dropout,
        )

    def forward(self, embedded: Embedded) -> Tensor:
        flat = embedded.flat if self.senet is None else self.senet(embedded.flat)
        return self.mlp(flat, embedded.dense)


class TwoTowers(nn.Module):
    """An MLP for each tower, into one space.

    Raises: SpecError where the towers end in different widths, or a sequence is not pooled.
    """

    def __init__(
        self,
        schema: Schema,
        model: str,
        user_hidden_dims: Sequence[int],
        item_hidden_dims: Sequence[int],
        *,
        activation: str,
        batch_norm: bool,
        dropout: float,
        senet_reduction: int | None = None,
    ) -> None:
        super().__init__()
        require_pooled(schema.inputs, model)
        if tuple(user_hidden_dims)[-1:] != tuple(item_hidden_dims)[-1:]:
            raise SpecError(
                f"user_hidden_dims and item_hidden_dims: both towers end in the same width, got "
                f"{list(user_hidden_dims)} and {list(item_hidden_dims)}"
            )
        self.embedding = TowerEmbedding(schema)

        def tower(fields: FeatureEmbedding, option: str, hidden_dims: Sequence[int]) -> Tower:
            return Tower(
                fields,
                option,
                hidden_dims,
                activation=activation,
                batch_norm=batch_norm,
                dropout=dropout,
                senet_reduction=senet_reduction,
            )

        self.user = tower(self.embedding.users, "user_hidden_dims", user_hidden_dims)
        self.item = tower(self.embedding.items, "item_hidden_dims", item_hidden_dims)

    def users(self, batch: Batch) -> Tensor:
        """(B, E)"""
        return self.user(self.embedding.user(batch))

    def items(self, batch: Batch) -> Tensor:
        """(I, E)"""
        return self.item(self.embedding.item(batch))
