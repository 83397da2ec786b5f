"""The optimizers of a model: one for its dense parameters, and one beside it for its embedding tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from rechub_cli.errors import SpecError
from rechub_cli.nn.table import EmbeddingTable
from rechub_cli.optim.adam import OPTIONS, Adam, AdamW
from rechub_cli.optim.lazy_adam import LazyAdam
from rechub_cli.optim.rowwise_adagrad import RowwiseAdagrad

NAMES = ("auto", "lazy_adam", "rowwise_adagrad", "same")
LAZY_FROM = 1_000_000  # values of all tables from which touching only the rows of a batch is faster
ROWWISE_ADAGRAD_LR = 0.02
_ADAMS: dict[Callable[..., Optimizer], Callable[..., Optimizer]] = {torch.optim.Adam: Adam, torch.optim.AdamW: AdamW}
_FUSED = (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD, torch.optim.Adagrad)


def build_optimizers(
    model: nn.Module,
    optimizer_fn: Callable[..., Optimizer],
    optimizer_params: Mapping[str, Any] | None = None,
    embedding_optimizer: Mapping[str, Any] | None = None,
) -> list[Optimizer]:
    """The dense optimizer, and the one of the embedding tables where it is another.

    A model without an ``EmbeddingTable`` gets just ``optimizer_fn(model.parameters(), **optimizer_params)``. Otherwise
    each table is told which kind of gradient its optimizer takes.

    Args:
        model: its parameters are on their device already.
        optimizer_fn: a class of torch.optim, or what else makes an optimizer of parameters.
        optimizer_params: its keyword arguments.
        embedding_optimizer: ``name``, ``lr`` and ``l2``, all optional.
            ``lazy_adam`` and ``rowwise_adagrad`` touch only the rows of a batch; ``l2`` adds ``l2 * row`` to their
            gradient. ``same``: the dense optimizer updates every row at every step, with ``l2`` as weight decay.
            ``auto`` (the default): ``lazy_adam`` where the tables together are large and the dense optimizer is Adam or
            AdamW, else ``same``. ``lr``: that of the dense optimizer (``rowwise_adagrad``: 0.02) if not given.

    Raises:
        SpecError: the name or a key is unknown, or ``l2`` is asked of an optimizer that has no weight decay.
    """
    params = dict(optimizer_params or {})
    tables = [module for module in model.modules() if isinstance(module, EmbeddingTable)]
    if not tables:
        return [optimizer_fn(model.parameters(), **params)]
    wanted: dict[str, Any] = {"name": "auto", "lr": None, "l2": 0.0}
    for key, value in (embedding_optimizer or {}).items():
        if key not in wanted:
            raise SpecError(f"embedding_optimizer: {key!r} is not known; known: {', '.join(wanted)}")
        wanted[key] = value
    weights = {id(table.weight): table.weight for table in tables}
    name = _choose(wanted["name"], optimizer_fn, sum(weight.numel() for weight in weights.values()))
    for table in tables:
        table.sparse_grad = name != "same"
    learned = [weight for weight in weights.values() if weight.requires_grad]
    same, rows = (learned, []) if name == "same" else ([], learned)
    dense = [parameter for parameter in model.parameters() if id(parameter) not in weights and parameter.requires_grad]

    optimizers = []
    lr = wanted["lr"]
    if dense or same:
        make = optimizer_fn
        if _can_fuse(optimizer_fn, params, [*dense, *same]):
            if optimizer_fn in _ADAMS and params.keys() <= OPTIONS:
                make = _ADAMS[optimizer_fn]
            else:
                params["fused"] = True
        groups: list[dict[str, Any]] = [{"params": dense}] if dense else []
        if same:
            rate = {} if lr is None else {"lr": lr}
            groups.append({"params": same, "weight_decay": wanted["l2"], **rate})
        optimizer = make(groups, **params)
        if same and wanted["l2"] and "weight_decay" not in optimizer.defaults:
            kind = type(optimizer).__name__
            raise SpecError(f"{kind} has no weight decay, so embedding_optimizer.l2 cannot be used with `same`")
        optimizers.append(optimizer)
        lr = optimizer.defaults.get("lr", 1e-3) if lr is None else lr
    elif lr is None:
        lr = params.get("lr", 1e-3)
    if rows and name == "lazy_adam":
        adam = {key: params[key] for key in ("betas", "eps") if key in params and optimizer_fn in _ADAMS}
        optimizers.append(LazyAdam(rows, lr=lr, weight_decay=wanted["l2"], **adam))
    elif rows:
        lr = ROWWISE_ADAGRAD_LR if wanted["lr"] is None else lr
        optimizers.append(RowwiseAdagrad(rows, lr=lr, weight_decay=wanted["l2"]))
    return optimizers


def _choose(name: str, optimizer_fn: Callable[..., Optimizer], values: int) -> str:
    if name not in NAMES:
        raise SpecError(f"unknown embedding optimizer {name!r}. Known: {', '.join(NAMES)}")
    if name != "auto":
        return name
    return "lazy_adam" if optimizer_fn in _ADAMS and values >= LAZY_FROM else "same"


def _can_fuse(optimizer_fn: Callable[..., Optimizer], params: Mapping[str, Any], weights: list[nn.Parameter]) -> bool:
    """One pass over the parameters instead of one for each operation, where torch has it and nothing else was asked."""
    return (
        optimizer_fn in _FUSED
        and not {"fused", "foreach", "differentiable"} & params.keys()
        and all(weight.device.type in ("cpu", "cuda") and weight.is_floating_point() for weight in weights)
    )
