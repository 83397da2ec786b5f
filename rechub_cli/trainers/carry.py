"""Weights and optimizer state of one training for the start of another, whose vocabularies have grown.

Rows of embedding tables go by feature and id: ``rows`` says for each id of a feature which old id it was, -1 where it
is new (int64, one for each id; a feature that is not there starts fresh). All else goes by name.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from rechub_cli.nn.table import EmbeddingTable
from rechub_cli.trainers.optimization import Optimization, tables_of

_ALIKE = ("Adam", "AdamW", "LazyAdam")  # the same state by the same names
_SWITCHES = ("amsgrad", "centered", "momentum")  # options that decide what the state holds


@torch.no_grad()
def carry_weights(
    model: nn.Module, saved: Mapping[str, Tensor], rows: Mapping[str, Tensor], fresh: Collection[str] = ()
) -> list[str]:
    """Put saved weights into a model; the names of those that stay as they are, ``fresh`` among them."""
    left = []
    keys = row_keys(model)
    for key, value in model.state_dict().items():
        there = saved.get(key)
        source = rows.get(keys[key]) if key in keys else None
        if key in keys and source is not None and there is not None and there.shape[1:] == value.shape[1:]:
            _copy_rows(value, there, source)
        elif key in keys or key in fresh or there is None or there.shape != value.shape:
            left.append(key)
        else:
            value.copy_(there)
    return left


def row_keys(model: nn.Module) -> dict[str, str]:
    """The keys of a state dict that are rows of a table, with their features."""
    tables = {name: module for name, module in model.named_modules() if isinstance(module, EmbeddingTable)}
    return {f"{name}.rows.{key}".lstrip("."): key for name, table in tables.items() for key in table.sizes}


@torch.no_grad()
def carry_optimizers(
    optimization: Optimization, saved: Mapping[str, Any], rows: Mapping[str, Tensor], fresh: Collection[str] = ()
) -> list[str]:
    """Put the saved state of optimizers (``Optimization.state()``) into new ones.

    Moments, sums and counts of steps are those of before, as if training had gone on; the options, learning rates among
    them, are the new ones'.

    Returns:
        the parameters that were trained before and whose state starts fresh all the same: those of another optimizer,
        and ``fresh`` ones.
    """
    found: dict[str, tuple[str, Mapping[str, Any], Mapping[str, Any]]] = {}  # kind, options, state
    for kind, names, state in zip(saved["kinds"], saved["names"], saved["optimizers"], strict=True):
        groups = [group for group in state["param_groups"] for _ in group["params"]]
        for place, (name, group) in enumerate(zip(names, groups, strict=True)):
            if place in state["state"]:
                found[name] = kind, group, state["state"][place]
    left = []
    tables = tables_of(optimization.model)
    for optimizer, names in zip(optimization.optimizers, optimization.names(), strict=True):
        whole = optimizer.state_dict()
        groups = [group for group in optimizer.param_groups for _ in group["params"]]
        weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        for place, (name, group, weight) in enumerate(zip(names, groups, weights, strict=True)):
            if name not in found:
                continue
            kind, options, state = found[name]
            fits = kind == type(optimizer).__name__ or {kind, type(optimizer).__name__} <= {*_ALIKE}
            if name in fresh or not fits or any(bool(options.get(key)) != bool(group.get(key)) for key in _SWITCHES):
                left.append(name)
            elif name in tables:
                new = whole["state"].get(place, {})
                sizes = saved["tables"][name], tables[name]
                whole["state"][place] = {
                    key: _rows_of(value, new.get(key), *sizes, rows, len(weight)) for key, value in state.items()
                }
            else:
                whole["state"][place] = dict(state)
        optimizer.load_state_dict(whole)
    return left


def _rows_of(
    saved: Any,
    new: Any,
    old_sizes: Mapping[str, int],
    sizes: Mapping[str, int],
    rows: Mapping[str, Tensor],
    total: int,
) -> Any:
    """One entry of a table's state: of what has a row for each of the table's, the old rows in their new places."""
    if not isinstance(saved, Tensor) or saved.dim() == 0 or len(saved) != sum(old_sizes.values()):
        return saved
    out = new.clone() if isinstance(new, Tensor) else saved.new_zeros(total, *saved.shape[1:])
    parts = dict(zip(old_sizes, saved.split(list(old_sizes.values())), strict=True))
    for name, part in zip(sizes, out.split(list(sizes.values())), strict=True):
        if name in parts and name in rows:
            _copy_rows(part, parts[name], rows[name])
    return out


def _copy_rows(target: Tensor, saved: Tensor, source: Tensor) -> None:
    known = torch.nonzero(source >= 0).squeeze(1)
    values = saved.index_select(0, source[known])
    target.index_copy_(0, known.to(target.device), values.to(target.device, target.dtype))
