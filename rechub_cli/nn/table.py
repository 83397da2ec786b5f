"""One table of embedding rows for several features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from rechub_cli.kernels import loops
from rechub_cli.nn.request import Request
from rechub_cli.nn.rows import Recurring, pooled, segment_sum, sparse_grad, uncounted
from rechub_cli.schema import FIRST_UNSEEN


@dataclass(frozen=True, slots=True)
class Answer:
    """What a table answers a request of B rows."""

    fields: Tensor  # (B, S + P, E), but for those that recur; the pooled list of no ids is zero
    listed: Tensor  # (N, E)
    interaction: Tensor | None = None  # (B, E) of all fields, where it came on the way: see nn.fm.bi_interaction
    recurring: Recurring | None = None
    rows: Tensor | None = None  # (U, E) of the fields that recur


class _Listed(torch.autograd.Function):
    """Rows and pooled rows, laid out as a model wants them, in one node: nothing between is kept or copied."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, request: Request, table: EmbeddingTable) -> tuple[Tensor, Tensor]:
        ctx.request, ctx.table = request, table
        size, plain = request.ids.shape
        ids = request.ids
        if request.pooled:  # the places of pooled fields are filled in below
            ids = ids.new_zeros(size, plain + len(request.pooled))
            ids[:, :plain] = request.ids
        compiled = loops.look_up_fields(weight, ids)
        fields = F.embedding(ids, weight) if compiled is None else compiled[0]
        for column, (jagged, mode) in enumerate(request.pooled, start=plain):
            fields[:, column] = pooled(jagged.values, weight, jagged, mode)
        listed = weight.new_empty(0, weight.shape[1])
        if request.listed is not None:
            listed = F.embedding(request.listed, weight)
        return fields, listed

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, fields: Tensor, listed: Tensor) -> tuple[Tensor, None, None]:
        grad = fields.reshape(-1, ctx.table.dim)
        if ctx.request.listed is not None:
            grad = torch.cat([grad, listed])
        if uncounted(grad):
            return _occurring_grad(ctx.table, ctx.request, grad), None, None
        grouped, source, weights = ctx.request.grouped()
        values = segment_sum(grad, source, grouped.starts, weights)
        return table_grad(ctx.table, ctx.request, values), None, None


class _Fields(torch.autograd.Function):
    """Compiled: one row for each field, and the fields' bi-interaction, in one pass each way.

    Of fields that recur, the distinct rows instead.
    The gradient g (B, E) of the bi-interaction is ``g * (total - row)`` of a row that occurs in a field: taken apart,
    the sum over a row's occurrences needs the row but once.
    """

    @staticmethod
    def forward(
        ctx: Any,
        weight: Tensor,
        request: Request,
        table: EmbeddingTable,
        half: bool,
        interact: bool,
        recurring: Recurring | None,
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        place, kept = (None, None) if recurring is None else (recurring.place, recurring.others.numel())
        compiled = loops.look_up_fields(weight, request.ids, place=place, kept=kept, half=half, interact=interact)
        fields, interaction, total = compiled or (F.embedding(request.ids, weight), None, None)
        ctx.request, ctx.table, ctx.recurring = request, table, recurring
        ctx.save_for_backward(weight, total)
        return fields, interaction, None if recurring is None else weight.index_select(0, recurring.rows)

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, fields: Tensor, interaction: Tensor | None, rows: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        weight, total = ctx.saved_tensors
        grouped, _, _ = ctx.request.grouped()
        beside = None if total is None or interaction is None else (interaction * total, interaction.contiguous())
        place = None if rows is None else ctx.recurring.place
        values: Tensor | None
        if rows is not None and rows.shape == (grouped.rows.numel(), rows.shape[1]) and beside is None:
            values = rows.clone()  # all fields recur
        else:
            values = loops.sum_gradients(
                grouped.rows, grouped.order, grouped.starts, fields.contiguous(), weight, beside, place
            )
            assert values is not None  # the loops that looked them up take their gradients
            if rows is not None:
                values.index_add_(0, ctx.recurring.which, rows)
        return table_grad(ctx.table, ctx.request, values), None, None, None, None, None


class _Total(torch.autograd.Function):
    """Compiled: the sum of a batch's fields, of which none is written down."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, request: Request, table: EmbeddingTable) -> Tensor:
        ctx.request, ctx.table = request, table
        ctx.save_for_backward(weight)
        compiled = loops.look_up_fields(weight, request.ids, total_only=True)
        total = F.embedding(request.ids, weight).sum(1) if compiled is None else compiled[2]
        assert total is not None
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (weight,) = ctx.saved_tensors
        grouped, _, _ = ctx.request.grouped()
        size, fields = ctx.request.ids.shape
        nothing, nowhere = grad.new_empty(size, 0, ctx.table.dim), loops.nowhere(fields)
        beside = (grad.contiguous(), None)
        values = loops.sum_gradients(grouped.rows, grouped.order, grouped.starts, nothing, weight, beside, nowhere)
        assert values is not None  # the loops that looked them up take their gradients
        return table_grad(ctx.table, ctx.request, values), None, None


def autocasts_to_bf16() -> bool:
    """Whether a matrix product on the CPU would now be one of bfloat16."""
    return torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16


def _occurring_grad(table: EmbeddingTable, request: Request, grad: Tensor) -> Tensor:
    """The gradient of the weight where nothing is grouped: a sparse one has a row for each occurrence."""
    ids, (source, weights) = request.occurrences().flatten(), request.sources()
    values = grad if source is None else grad.index_select(0, source)
    if weights is not None:
        values = values * weights[:, None]
    if not table.sparse_grad:
        return grad.new_zeros(table.weight.shape).index_add_(0, ids, values).index_fill_(0, table.padding, 0.0)
    values = values.masked_fill(torch.isin(ids, table.padding)[:, None], 0.0)
    return torch.sparse_coo_tensor(
        ids.long()[None], values, table.weight.shape, is_coalesced=False, check_invariants=False
    )


def table_grad(table: EmbeddingTable, request: Request, values: Tensor) -> Tensor:
    """Values (U, E) of the distinct rows as the gradient of the table's weight; those of padding rows become zero."""
    rows, blank = request.grouped()[0].rows, request.blank(table.padding)
    if blank.numel():
        values.index_fill_(0, blank, 0.0)
    if table.sparse_grad:
        return sparse_grad(rows, values, table.weight.shape)
    return values.new_zeros(table.weight.shape).index_copy_(0, rows, values)


class EmbeddingTable(nn.Module):
    """Rows for several features in one parameter ``weight`` (V, E); a feature's rows start at ``row_offset(name)``.

    Reserved rows (padding, missing, unseen) are zero at first, the others normal with deviation ``std``. Padding rows
    never get a gradient. ``sparse_grad`` False: the gradient is dense, for any optimizer of torch. True: it is a sparse
    tensor of distinct rows in rising order, for the optimizers of ``rechub_cli.optim``.

    A state dict holds ``rows.<feature>`` (vocab_size, E) for each feature.

    Args:
        sizes: vocabulary size of each feature.
        dim: E.
        std: deviation of the initial values.
        oov_buckets: number of unseen ids of a feature, where it is not 1.

    Raises:
        ValueError: there is no feature, or the table has 2^31 rows or more.
    """

    padding: Tensor

    def __init__(
        self, sizes: Mapping[str, int], dim: int, *, std: float = 1e-4, oov_buckets: Mapping[str, int] | None = None
    ) -> None:
        super().__init__()
        if not sizes:
            raise ValueError("an embedding table needs at least one feature")
        self.sizes, self.dim, self.sparse_grad = dict(sizes), dim, False
        self._offsets: dict[str, int] = {}
        total = 0
        for name, size in sizes.items():
            self._offsets[name] = total
            total += size
        if total >= 2**31:
            raise ValueError(f"an embedding table holds fewer than 2^31 rows; {total} were asked for")
        self.weight = nn.Parameter(torch.empty(total, dim))
        self.register_buffer("padding", torch.tensor(list(self._offsets.values())), persistent=False)
        self.reset_parameters(std, oov_buckets or {})

    @torch.no_grad()
    def reset_parameters(self, std: float, oov_buckets: Mapping[str, int]) -> None:
        self.weight.normal_(0, std)
        for name, offset in self._offsets.items():
            reserved = min(FIRST_UNSEEN + oov_buckets.get(name, 1), self.sizes[name])
            self.weight[offset : offset + reserved] = 0

    def row_offset(self, name: str) -> int:
        """Row of the feature's id 0."""
        return self._offsets[name]

    def forward(self, ids: Tensor) -> Tensor:
        """Row numbers (int32, any shape) -> (..., E)."""
        return self.answer(Request(ids.reshape(-1, 1))).fields.view(*ids.shape, self.dim)

    def answer(
        self, request: Request, *, for_linear: bool = False, interact: bool = False, apart: Tensor | None = None
    ) -> Answer:
        """The rows that a request asks for.

        Args:
            for_linear: linear layers alone read the fields, which may then come in the precision of autocast.
            interact: the bi-interaction of the fields is wanted too, if it costs no pass of its own.
            apart: int64, the first row of each field, rising, where no two share any: fields that recur in the batch
                may then be answered by their distinct rows.
        """
        if self._by_loops(request):
            half = for_linear and autocasts_to_bf16()
            recurring = None if apart is None else Recurring.find(request.grouped()[0], apart, self.dim, half)
            fields, interaction, rows = _Fields.apply(self.weight, request, self, half, interact, recurring)
            return Answer(fields, self.weight.new_empty(0, self.dim), interaction, recurring, rows)
        return Answer(*_Listed.apply(self.weight, request, self))

    def total(self, request: Request) -> Tensor | None:
        """The sum (B, E) of the fields of a request; None where it takes the answer to make it."""
        return _Total.apply(self.weight, request, self) if self._by_loops(request) else None

    def _by_loops(self, request: Request) -> bool:
        loaded = loops.usable(self.weight, request.ids) is not None
        return request.plain and loaded and self.weight.dtype == torch.float32

    def rows(self, name: str) -> Tensor:
        """The rows of one feature (vocab_size, E): a view."""
        return self.weight[self._offsets[name] : self._offsets[name] + self.sizes[name]]

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        for name in self.sizes:
            rows = self.rows(name)
            destination[f"{prefix}rows.{name}"] = rows if keep_vars else rows.detach()

    def _load_from_state_dict(
        self,
        state_dict: Mapping[str, Any],
        prefix: str,
        local_metadata: Mapping[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        expected = {f"{prefix}rows.{name}": name for name in self.sizes}
        for key, name in expected.items():
            if key not in state_dict:
                if strict:
                    missing_keys.append(key)
                continue
            rows, saved = self.rows(name), state_dict[key]
            if saved.shape != rows.shape:
                error_msgs.append(
                    f"size mismatch for {key}: copying a param with shape {tuple(saved.shape)} from checkpoint, "
                    f"the shape in current model is {tuple(rows.shape)}."
                )
                continue
            with torch.no_grad():
                rows.copy_(saved)
        if strict:
            unexpected_keys.extend(key for key in state_dict if key.startswith(prefix) and key not in expected)

    def extra_repr(self) -> str:
        return f"{len(self.sizes)} features, {self.weight.shape[0]} rows, dim {self.dim}"
