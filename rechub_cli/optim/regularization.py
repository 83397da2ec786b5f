"""The gradient of an L1 and L2 penalty on weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from rechub_cli.nn.rows import only_once, sparse_grad, sparse_rows
from rechub_cli.nn.table import EmbeddingTable

_EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag, EmbeddingTable)
_NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


@torch.no_grad()
def add_regularization_grads(
    model: nn.Module,
    embedding_l1: float = 0.0,
    embedding_l2: float = 0.0,
    dense_l1: float = 0.0,
    dense_l2: float = 0.0,
) -> None:
    """Add the gradient of ``l1 * sum|w| + l2 * sum w^2`` to the gradients that ``backward`` left.

    Embedding weights have their own rates; weights of normalization layers are left alone. Called after ``backward``
    and before the optimizers' step, this does what adding the penalty to the loss does, without a graph over every
    weight.

    DIFF: of an embedding with sparse gradients only the rows of the batch are regularized.
    """
    if not (embedding_l1 or embedding_l2 or dense_l1 or dense_l2):
        return
    modules = list(model.modules())
    norms = {id(weight) for module in modules if isinstance(module, _NORMS) for weight in module.parameters()}
    embeddings = {id(weight) for module in modules if isinstance(module, _EMBEDDINGS) for weight in module.parameters()}
    for weight in model.parameters():
        if not weight.requires_grad or id(weight) in norms:
            continue
        l1, l2 = (embedding_l1, embedding_l2) if id(weight) in embeddings else (dense_l1, dense_l2)
        if not (l1 or l2):
            continue
        if weight.grad is None:
            weight.grad = torch.zeros_like(weight)
        if not weight.grad.is_sparse:
            _add(weight.grad, weight, l1, l2)
            continue
        rows, values = sparse_rows(weight.grad)
        _add(values, only_once(rows, weight.index_select(0, rows)), l1, l2)
        weight.grad = sparse_grad(rows, values, weight.shape)


def _add(grad: Tensor, weight: Tensor, l1: float, l2: float) -> None:
    if l1:
        grad.add_(weight.sign(), alpha=l1)
    if l2:
        grad.add_(weight, alpha=2 * l2)
