"""Torch's optimizers without what they do for ``torch.compile`` and, while nobody looks, for profilers.

Their bookkeeping imports the compiler before it does anything: a second of CPU at every start, for nothing that is used
here. And every step is announced to profilers, which takes as long as the update of a small table.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim import optimizer as torch_optimizer


class Uncompiled(Optimizer):
    """An optimizer whose bookkeeping is as it was before torch decorated it, and whose step is ``_update_all``."""

    add_param_group = inspect.unwrap(Optimizer.add_param_group)
    state_dict = inspect.unwrap(Optimizer.state_dict)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As torch's, but all that is kept of a parameter, its count of steps too, goes to the parameter's device."""
        inspect.unwrap(Optimizer.load_state_dict)(self, state_dict)
        for weight, state in self.state.items():
            state.update({name: value.to(weight.device) for name, value in state.items() if isinstance(value, Tensor)})

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update every parameter, or its rows, that have a gradient."""
        hooks = (self._optimizer_step_pre_hooks, self._optimizer_step_post_hooks, *_ALL_HOOKS)
        if torch.autograd._profiler_enabled() or any(hooks):
            return _announced(self, closure)
        return self._step(closure)

    step.hooked = True  # type: ignore[attr-defined]  # torch need not wrap it

    @torch.no_grad()
    def _step(self, closure: Callable[[], float] | None = None) -> float | None:
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


_ALL_HOOKS = (torch_optimizer._global_optimizer_pre_hooks, torch_optimizer._global_optimizer_post_hooks)
_announced = Optimizer.profile_hook_step(Uncompiled._step)
