"""Adam for embedding tables: only the rows of the batch are touched."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from rechub_cli.kernels import loops
from rechub_cli.nn.rows import as_repeated, row_blocks, sparse_rows
from rechub_cli.optim.uncompiled import Uncompiled

MOMENTS = ("exp_avg", "exp_avg_sq")


class LazyAdam(Uncompiled):
    """Adam (Kingma and Ba, 2015, https://arxiv.org/abs/1412.6980) on the rows that have a gradient.

    DIFF: rows without a gradient keep their value and their moments, so a step costs as much as the batch has
    distinct rows, however large the table is. Bias is corrected by the number of all steps, as in
    ``torch.optim.SparseAdam`` (which scales ``eps`` another way). Where all rows have a gradient at every step, this
    is Adam.

    Gradients are sparse (V, E), best with distinct rows in rising order; dense ones get plain Adam.

    Args:
        params: parameters, or groups of them.
        lr: step size.
        betas: decay of the mean gradient and of the mean squared gradient.
        eps: keeps the division finite.
        weight_decay: adds ``weight_decay * row`` to the gradient of a touched row.
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    def _update_all(self, weights: Sequence[Tensor], options: dict[str, Any]) -> None:
        for weight in weights:
            assert weight.grad is not None
            self._update(weight, weight.grad, options)

    def _update(self, weight: Tensor, grad: Tensor, options: dict[str, Any]) -> None:
        state = self.state[weight]
        if not state:
            state["step"] = torch.zeros((), device=weight.device)
        _lay_out(state, weight, beside=grad.is_sparse and loops.usable(weight) is not None)
        loops.count_steps([state["step"]])
        tensors = (weight, state["exp_avg"], state["exp_avg_sq"])
        if not grad.is_sparse:
            _adam(grad.contiguous(), tensors, state["step"], options)
            return
        rows, values = sparse_rows(grad)
        if weight.device.type == "cpu":
            settings = {name: options[name] for name in ("lr", "betas", "eps", "weight_decay")}
            if loops.lazy_adam(rows, values, *tensors, step=state["step"].item(), **settings):
                return
        for some, their_values in row_blocks(rows, as_repeated(rows, values)):
            parts = [F.embedding(some, tensor) for tensor in tensors]
            _adam(their_values, parts, state["step"], options)
            for tensor, part in zip(tensors, parts, strict=True):
                tensor.index_copy_(0, some, part)


def _lay_out(state: dict[str, Any], weight: Tensor, *, beside: bool) -> None:
    """Let a row's two moments lie ``beside`` each other in memory; otherwise each moment lies as the weight does.

    An update of rows anywhere in a large table then reaches for two places a row and not three. torch's kernel for
    dense gradients wants all to lie as the weight.
    """
    strides = (2 * weight.shape[1], 1) if beside else weight.stride()
    kept = [state.get(name) for name in MOMENTS]
    if all(moment is not None and moment.stride() == strides for moment in kept):
        return
    if beside:
        places = weight.new_zeros(len(weight), 2, weight.shape[1]).unbind(1)
    else:
        places = torch.zeros_like(weight), torch.zeros_like(weight)
    for name, moment, place in zip(MOMENTS, kept, places, strict=True):
        state[name] = place if moment is None else place.copy_(moment)


def _adam(grad: Tensor, tensors: Sequence[Tensor], step: Tensor, options: dict[str, Any]) -> None:
    """Adam on (weight, exp_avg, exp_avg_sq) in place: the kernel behind ``torch.optim.Adam(fused=True)``."""
    (weight, mean, square), (beta1, beta2) = tensors, options["betas"]
    torch._fused_adam_(
        [weight],
        [grad],
        [mean],
        [square],
        [],
        [step],
        lr=options["lr"],
        beta1=beta1,
        beta2=beta2,
        weight_decay=options["weight_decay"],
        eps=options["eps"],
        amsgrad=False,
        maximize=False,
    )
