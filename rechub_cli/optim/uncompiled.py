"""Torch's optimizers without what they do for ``torch.compile``.

Their bookkeeping imports the compiler before it does anything: a second of CPU at every start, for nothing that is used
here.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


class Uncompiled(Optimizer):
    """An optimizer whose bookkeeping is as it was before torch decorated it, and whose step is ``_update_all``."""

    add_param_group = inspect.unwrap(Optimizer.add_param_group)
    state_dict = inspect.unwrap(Optimizer.state_dict)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As torch's, but all that is kept of a parameter, its count of steps too, goes to the parameter's device."""
        inspect.unwrap(Optimizer.load_state_dict)(self, state_dict)
        for weight, state in self.state.items():
            state.update({name: value.to(weight.device) for name, value in state.items() if isinstance(value, Tensor)})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update every parameter, or its rows, that have a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for options in self.param_groups:
            weights = [weight for weight in options["params"] if weight.grad is not None]
            if weights:
                self._update_all(weights, options)
        return loss

    def _update_all(self, weights: Sequence[Tensor], options: dict[str, Any]) -> None:
        """Update parameters of one group; all have a gradient."""
        raise NotImplementedError
