"""A schema's columns as embedding vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from rechub_cli.batch import Batch, Jagged
from rechub_cli.errors import SpecError
from rechub_cli.nn.fields import TableFields
from rechub_cli.nn.fm import bi_interaction
from rechub_cli.nn.looked_up import LookedUp
from rechub_cli.nn.numeric import NumberEmbedding
from rechub_cli.nn.request import Request
from rechub_cli.nn.rows import pooled
from rechub_cli.nn.table import Answer, EmbeddingTable
from rechub_cli.schema import FIRST_UNSEEN, Feature, Schema


@dataclass(frozen=True, slots=True)
class Embedded:
    """A batch of B rows as vectors: F fields side by side, and what is not a field."""

    flat: Tensor  # (B, width)
    dense: Tensor  # (B, n_dense): plain numbers
    sequences: Mapping[str, Jagged]  # pooling "none": values (N, E)
    spans: Mapping[str, slice]  # columns of `flat` of each field
    requests: Sequence[Request] = ()  # what was looked up, one for each table
    _interaction: Tensor | None = None  # where the look-up made it on the way
    _looked_up: LookedUp | None = None  # instead of `flat`, which then has no columns

    @property
    def for_layers(self) -> tuple[Tensor, Tensor]:
        """``flat`` and ``dense`` as linear layers read them; ask for it when embedding."""
        return cast("Tensor", self._looked_up or self.flat), self.dense

    @property
    def stacked(self) -> Tensor:
        """(B, F, E), where all fields have one width (see ``FeatureEmbedding.common_dim``)."""
        return self.flat.unflatten(1, (len(self.spans), -1))

    @property
    def interaction(self) -> Tensor:
        """(B, E): the bi-interaction of all fields, where they have one width; ask for it when embedding."""
        return bi_interaction(self.stacked) if self._interaction is None else self._interaction

    @property
    def all(self) -> Tensor:
        """(B, width + n_dense)"""
        return torch.cat([self.flat, self.dense], dim=1) if self.dense.shape[1] else self.flat

    def field(self, name: str) -> Tensor:
        """(B, E) of one field."""
        return self.flat[:, self.spans[name]]


class FeatureEmbedding(nn.Module):
    """Every id of a batch as a row of a table, every embedded number as a vector.

    Features of one width share one table, and all their ids, lists included, are one look-up. A feature that ``shares``
    another's vocabulary uses the same rows.

    Args:
        schema: the columns.
        dim: one width for all fields instead of each feature's own (1: first-order weights).
        std: deviation of the initial rows.
        tables: those of a larger schema, by width: every call is then given them. There are no tables here.

    Attributes:
        fields: names: sparse features, pooled sequences, embedded numbers.
        dims: width of each field.
        width: sum of ``dims``.
        n_dense: columns of ``Batch.dense`` that are not embedded.
        spans: columns of ``Embedded.flat`` of each field.

    Raises:
        SpecError: a feature has another width, or another vocabulary size, than the feature whose rows it shares.
    """

    def __init__(
        self,
        schema: Schema,
        *,
        dim: int | None = None,
        std: float = 1e-4,
        tables: nn.ModuleDict | None = None,
    ) -> None:
        super().__init__()
        self.schema, self.dim = schema, dim
        ids = (*schema.sparse, *schema.sequences)
        widths = {feature.name: dim or feature.embed_dim for feature in schema.features}
        _check_sharing(ids, widths)
        pooled = [feature for feature in schema.sequences if feature.pooling != "none"]
        self.numbers = NumberEmbedding(schema, dim)
        self.fields = (*(feature.name for feature in (*schema.sparse, *pooled)), *self.numbers.fields)
        self.dims = tuple(widths[name] for name in self.fields)
        self.width = sum(self.dims)
        self.n_dense = self.numbers.n_plain
        self.layouts, self.tables = nn.ModuleDict(), nn.ModuleDict()  # both by width
        for width in dict.fromkeys(widths[feature.name] for feature in ids):
            mine = [feature for feature in ids if widths[feature.name] == width]
            if tables is not None:
                self.layouts[str(width)] = TableFields(schema, mine, cast("EmbeddingTable", tables[str(width)]))
            else:
                layout = TableFields(schema, mine)
                self.layouts[str(width)], self.tables[str(width)] = layout, layout.new_table(width, std)
        self._max_pooled = [feature.name for feature in pooled if feature.pooling == "max"]
        self._single = len(self.layouts) == 1 and not self._max_pooled and not self.numbers.fields
        self._droppable = [(c, feature) for c, feature in enumerate(schema.sparse) if feature.id_dropout]
        self._apart = len({feature.table for feature in ids}) == len(ids) and not schema.sequences
        ends = torch.tensor([0, *self.dims]).cumsum(0).tolist()
        self.spans = {name: slice(*ends[i : i + 2]) for i, name in enumerate(self.fields)}

    def common_dim(self, model: str) -> int:
        """The one width of all fields.

        Raises:
            SpecError: there are several widths, or no fields.
        """
        if len(set(self.dims)) == 1:
            return self.dims[0]
        if not self.dims:
            raise SpecError(f"model {model} needs at least one sparse feature, pooled sequence or embedded number")
        names: dict[int, list[str]] = {}
        for name, dim in zip(self.fields, self.dims, strict=True):
            names.setdefault(dim, []).append(name)
        widths = "; ".join(f"{dim}: {', '.join(names[dim])}" for dim in names)
        raise SpecError(f"model {model} needs the same embed_dim for all features, but there are several ({widths})")

    def forward(
        self,
        batch: Batch,
        like: Embedded | None = None,
        tables: nn.ModuleDict | None = None,
        *,
        for_linear: bool = False,
        interact: bool = False,
    ) -> Embedded:
        """Look up a batch.

        Args:
            batch: rows of the schema.
            like: what another embedding of the same schema made of the same batch. Where both keep one table, the work
                of bringing equal ids together is then done once: say so for first-order weights.
            tables: those that the constructor was given.
            for_linear: ``for_layers`` alone will be read of the fields, and may come in the precision of autocast.
            interact: ``interaction`` will be read: it may then cost no pass of its own.
        """
        pairs = self._pairs(self.tables if tables is None else tables)
        requests = self._requests(batch, like)
        answers: list[Tensor] = []  # (B, fields of the table, E)
        sequences: dict[str, Jagged] = {}
        interaction: Tensor | None = None
        for_linear = for_linear and (self._single or not interact)  # what else makes the interaction wants it whole
        may_recur = self._single and self._apart and not batch.dense.requires_grad
        looked_up: LookedUp | None = None
        for (layout, table), request in zip(pairs, requests, strict=True):
            apart = layout.offsets.long() if for_linear and may_recur else None
            answer = table.answer(request, for_linear=for_linear, interact=interact and self._single, apart=apart)
            if answer.recurring is not None and answer.rows is not None:
                looked_up = LookedUp(answer.recurring, answer.rows, answer.fields.flatten(1))
                answer = Answer(answer.fields[:, :0], answer.listed, answer.interaction)
            answers.append(answer.fields)
            interaction = answer.interaction
            sequences.update(layout.lists(answer.listed, batch.sequences))
        others = {name: _max_pooled(sequences.pop(name)) for name in self._max_pooled}
        numbers, dense = self.numbers(batch.dense)
        flat = self._flat(answers, {**others, **numbers}, batch)
        return Embedded(flat, dense, sequences, self.spans, requests, interaction, looked_up)

    def total(self, batch: Batch, like: Embedded | None = None) -> tuple[Tensor, Tensor]:
        """The sum (B, E) of all fields, which need one ``dim``, and ``Embedded.dense``; ``like``: see ``forward``."""
        if self._single:
            ((_, table),) = self._pairs(self.tables)
            total = table.total(self._requests(batch, like)[0])
            if total is not None:
                return total, self.numbers(batch.dense)[1]
        assert self.dim is not None
        embedded = self(batch, like)
        return embedded.flat.view(len(batch), len(self.dims), self.dim).sum(1), embedded.dense

    def _requests(self, batch: Batch, like: Embedded | None) -> Sequence[Request]:
        if like is not None and len(like.requests) == len(self.layouts) == 1:
            return like.requests
        sparse = self._dropped(batch.sparse)
        layouts = cast("list[TableFields]", list(self.layouts.values()))
        return [layout.request(sparse, batch.sequences) for layout in layouts]

    def _pairs(self, tables: nn.ModuleDict) -> list[tuple[TableFields, EmbeddingTable]]:
        pairs = [(layout, tables[width]) for width, layout in self.layouts.items()]
        return cast("list[tuple[TableFields, EmbeddingTable]]", pairs)

    def _flat(self, answers: Sequence[Tensor], others: Mapping[str, Tensor], batch: Batch) -> Tensor:
        if len(answers) == 1 and not others:
            return answers[0].flatten(1)  # already in field order: nothing is copied
        parts = dict(others)
        for layout, answer in zip(self.layouts.values(), answers, strict=True):
            parts.update(zip(cast("TableFields", layout).fields, answer.unbind(1), strict=True))
        return torch.cat([parts[name] for name in self.fields], dim=1) if parts else batch.dense[:, :0]

    def _dropped(self, sparse: Tensor) -> Tensor:
        """In training, some ids of features with ``id_dropout`` become unseen ones, so that those rows are trained."""
        if not self.training or not self._droppable:
            return sparse
        sparse = sparse.clone()
        for column, feature in self._droppable:
            ids, known = sparse[:, column], FIRST_UNSEEN + feature.oov_buckets
            dropped = (torch.rand(len(ids), device=ids.device) < feature.id_dropout) & (ids >= known)
            unseen = torch.randint(FIRST_UNSEEN, known, ids.shape, dtype=ids.dtype, device=ids.device)
            sparse[:, column] = torch.where(dropped, unseen, ids)
        return sparse


def _max_pooled(lists: Jagged) -> Tensor:
    """(B, E): the greatest value of each list; zero where it is empty."""
    order = torch.arange(lists.values.shape[0], device=lists.values.device)
    return pooled(order, lists.values, lists, "max")


def _check_sharing(features: Sequence[Feature], widths: Mapping[str, int]) -> None:
    owners = {feature.name: feature for feature in features}
    for feature in features:
        owner = owners.setdefault(feature.table, feature)
        if feature.vocab_size != owner.vocab_size or widths[feature.name] != widths[owner.name]:
            raise SpecError(
                f"feature {feature.name} shares the rows of {feature.table}, so both need the same embed_dim "
                f"({widths[feature.name]} and {widths[owner.name]}) and the same vocabulary "
                f"({feature.vocab_size} and {owner.vocab_size} ids)"
            )
