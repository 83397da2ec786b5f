"""What a loader may yield, made one shape: a Batch, ``(Batch, carried)``, ``(x_dict, y)``, or inputs alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rechub_cli.batch import Batch
from rechub_cli.errors import DataError


@dataclass(slots=True)
class Rows:
    """One batch on the model's device."""

    inputs: Any  # what the model is called with
    n: int
    size: int  # rows the model is given: a foreign module gets a lone row twice
    labels: Tensor | None = None  # float32 (B, T)
    weights: Tensor | None = None  # float32 (B,)
    label_weights: Tensor | None = None  # float32 (B, T)
    group: Tensor | None = None  # int64 (B,)
    carried: Any = None  # columns that travel beside the tensors

    def known_labels(self) -> Tensor:
        """The labels, which this use needs.

        Raises:
            DataError: the loader yields none.
        """
        if self.labels is None:
            raise DataError("the batches have no labels: the loader must yield (inputs, labels), or a Batch with them")
        return self.labels


def take(item: Any, device: torch.device) -> Rows:
    """One item of a loader, on ``device``.

    A lone row outside a Batch is doubled (``n`` stays 1), for many modules drop the batch dimension of one
    row; the mean loss and the first score are the same.

    Raises:
        DataError: inputs and labels differ in length, or are no tensors.
    """
    inputs, beside = item if isinstance(item, tuple | list) and len(item) == 2 else (item, None)
    if isinstance(inputs, tuple | list) and len(inputs) == 1:
        inputs = inputs[0]
    if isinstance(inputs, Batch):
        if device.type != "cpu":
            inputs = inputs.to(device, non_blocking=True)
        n = len(inputs)
        return Rows(inputs, n, n, inputs.labels, inputs.weights, inputs.label_weights, inputs.group, beside)

    labels = None
    n = _count(inputs)
    if beside is not None:
        labels = torch.as_tensor(beside).to(device, torch.float32, non_blocking=True)
        if labels.shape[:1] != (n,):
            raise DataError(f"the loader yields {n} rows with labels of shape {tuple(labels.shape)}")
        labels = labels.reshape(n, -1)
    if n == 1:
        inputs = _map(inputs, lambda tensor: torch.cat([tensor, tensor]))
        labels = labels.repeat(2, 1) if labels is not None else None
    if device.type != "cpu":
        inputs = _map(inputs, lambda tensor: tensor.to(device, non_blocking=True))
    return Rows(inputs, n, max(n, 2) if n else 0, labels)


def n_batches(loader: Iterable[Any]) -> int | None:
    """Steps of one pass, where the loader knows."""
    try:
        return len(loader)  # type: ignore[arg-type]
    except TypeError:
        return None


class LoneRow:
    """Batch norms of a module use their running statistics while one row is trained: one row has no variance."""

    def __init__(self, model: nn.Module) -> None:
        norms = (module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm))
        self.norms = [norm for norm in norms if norm.training]

    def __enter__(self) -> None:
        for norm in self.norms:
            norm.eval()

    def __exit__(self, *_: object) -> None:
        for norm in self.norms:
            norm.train()


def _count(inputs: Any) -> int:
    first = inputs
    while isinstance(first, dict | tuple | list) and first:
        first = next(iter(first.values())) if isinstance(first, dict) else first[0]
    if not isinstance(first, Tensor) or first.dim() == 0:
        raise DataError(f"the loader yields {type(inputs).__name__}; it must yield Batch, or (dict of tensors, labels)")
    return first.shape[0]


def _map(inputs: Any, change: Any) -> Any:
    if isinstance(inputs, dict):
        return {name: _map(part, change) for name, part in inputs.items()}
    if isinstance(inputs, tuple | list):
        return [_map(part, change) for part in inputs]
    return change(inputs)
