"""Arithmetic of gradients, dense or of sparse rows: what the weightings of several tasks need."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rechub_cli.nn.rows import sparse_grad, sparse_rows, sum_by_row, uncounted

Grad = Tensor | None  # of one parameter; None where a loss does not reach it


def lengths(grads: Sequence[Grad]) -> Tensor:
    """Length of each parameter's gradient; 0 where there is none."""
    device = next((grad.device for grad in grads if grad is not None), None)
    return torch.stack([_length(grad) if grad is not None else torch.zeros((), device=device) for grad in grads])


def dot(left: Sequence[Grad], right: Sequence[Grad]) -> Tensor:
    """Inner product of two gradients of the same parameters, as one vector each."""
    total = torch.zeros(())
    for a, b in zip(left, right, strict=True):
        if a is not None and b is not None:
            product = _sparse_dot(a, b) if a.is_sparse else torch.dot(a.flatten(), b.flatten())
            total = total.to(product) + product
    return total


def weighted_sum(grads: Sequence[Grad], weights: Sequence[Tensor]) -> Grad:
    """Sum of ``weight * gradient`` over gradients of one parameter; None where all are."""
    there = [(grad, weight) for grad, weight in zip(grads, weights, strict=True) if grad is not None]
    if not there:
        return None
    first = there[0][0]
    if not first.is_sparse:
        total = first * there[0][1].to(first)
        for grad, weight in there[1:]:
            total.addcmul_(grad, weight.to(grad))
        return total
    parts = [(*sparse_rows(grad), weight) for grad, weight in there]
    rows = parts[0][0]
    values = [part * weight.to(part) for _, part, weight in parts]
    if all(torch.equal(rows, other) for other, _, _ in parts[1:]):
        return sparse_grad(rows, torch.stack(values).sum(0), first.shape)
    return sparse_grad(*sum_by_row(torch.cat([rows for rows, _, _ in parts]), torch.cat(values)), first.shape)


def _length(grad: Tensor) -> Tensor:
    return torch.linalg.vector_norm(sparse_rows(grad)[1] if grad.is_sparse else grad)


def _sparse_dot(a: Tensor, b: Tensor) -> Tensor:
    if uncounted(a):
        a, b = a.coalesce(), b.coalesce()
    (rows_a, values_a), (rows_b, values_b) = sparse_rows(a), sparse_rows(b)
    if not torch.equal(rows_a, rows_b):
        both = torch.isin(rows_a, rows_b)
        values_a = values_a[both]
        values_b = values_b[torch.isin(rows_b, rows_a)]  # in the same rising order
    return torch.dot(values_a.flatten(), values_b.flatten())
