"""Adagrad with one accumulator for each embedding row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from rechub_cli.kernels import loops
from rechub_cli.nn.rows import as_repeated, row_blocks, sparse_rows
from rechub_cli.optim.uncompiled import Uncompiled


class RowwiseAdagrad(Uncompiled):
    """Row-wise Adagrad, as used for the tables of DLRM (Naumov et al., 2019, https://arxiv.org/abs/1906.00091).

    ``sum += mean(grad ** 2)`` over a row, ``row -= lr * grad / (sqrt(sum) + eps)``. Its state is one number a row, and
    rows without a gradient are not touched.

    Gradients are sparse (V, E), best with distinct rows in rising order; dense ones update every row.

    Args:
        params: two-dimensional parameters, or groups of them.
        lr: step size; about twenty times that of Adam suits it.
        eps: keeps the division finite.
        weight_decay: adds ``weight_decay * row`` to the gradient of a touched row.
    """

    def __init__(self, params: Any, lr: float = 0.02, eps: float = 1e-8, weight_decay: float = 0.0) -> None:
        super().__init__(params, {"lr": lr, "eps": eps, "weight_decay": weight_decay})

    def _update_all(self, weights: Sequence[Tensor], options: dict[str, Any]) -> None:
        for weight in weights:
            assert weight.grad is not None
            self._update(weight, weight.grad, options)

    def _update(self, weight: Tensor, grad: Tensor, options: dict[str, Any]) -> None:
        state = self.state[weight]
        if not state:
            state["sum"] = weight.new_zeros(weight.shape[0])
        total = state["sum"]
        if not grad.is_sparse:
            _adagrad(weight, grad, total, options)
            return
        rows, values = sparse_rows(grad)
        settings = {name: options[name] for name in ("lr", "eps", "weight_decay")}
        if loops.rowwise_adagrad(rows, values, weight, total, **settings):
            return
        for some, their_values in row_blocks(rows, as_repeated(rows, values)):
            part, part_total = F.embedding(some, weight), total.index_select(0, some)
            _adagrad(part, their_values, part_total, options)
            weight.index_copy_(0, some, part)
            total.index_copy_(0, some, part_total)


def _adagrad(weight: Tensor, grad: Tensor, total: Tensor, options: dict[str, Any]) -> None:
    """One step in place."""
    if options["weight_decay"]:
        grad = grad.add(weight, alpha=options["weight_decay"])
    total.add_(torch.linalg.vecdot(grad, grad), alpha=1 / grad.shape[1])
    scale = total.sqrt().add_(options["eps"]).reciprocal_()
    weight.addcmul_(grad, scale[:, None], value=-options["lr"])
