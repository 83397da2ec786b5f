"""Clipping by the global norm, for dense and sparse gradients together."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from rechub_cli.nn.rows import sparse_grad, sparse_rows


@torch.no_grad()
def clip_grad_norm_(params: Iterable[Tensor], max_norm: float) -> Tensor:
    """Scale all gradients in place so that their common norm is at most ``max_norm``; the norm before is returned.

    As ``torch.nn.utils.clip_grad_norm_``, but sparse gradients are understood: rows that occur twice are added first.
    """
    values = []
    for parameter in params:
        if parameter.grad is None:
            continue
        if not parameter.grad.is_sparse:
            values.append(parameter.grad)
            continue
        rows, row_values = sparse_rows(parameter.grad)
        parameter.grad = sparse_grad(rows, row_values, parameter.grad.shape)
        values.append(row_values)
    norm = torch.nn.utils.get_total_norm(values)
    if norm.device.type != "cpu" or norm > max_norm:  # asking a GPU would make it wait
        scale = (max_norm / (norm + 1e-6)).clamp(max=1.0)
        for value in values:
            value.mul_(scale.to(value.device))
    return norm
