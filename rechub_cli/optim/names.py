"""Optimizers and schedulers of torch by name."""

from __future__ import annotations

import difflib
from typing import TypeVar

import torch
from torch.optim import lr_scheduler

from rechub_cli.errors import SpecError

T = TypeVar("T")

# LBFGS needs a closure; SparseAdam takes only sparse gradients, Muon only matrices, and a model has more than those.
_OPTIMIZERS = {
    name.lower(): found
    for name, found in vars(torch.optim).items()
    if isinstance(found, type)
    and issubclass(found, torch.optim.Optimizer)
    and name not in ("Optimizer", "LBFGS", "SparseAdam", "Muon")
}
# The others take functions or other schedulers as arguments.
_SCHEDULERS = {
    name.lower(): found
    for name, found in vars(lr_scheduler).items()
    if isinstance(found, type)
    and issubclass(found, lr_scheduler.LRScheduler)
    and not name.startswith("_")
    and name not in ("LRScheduler", "LambdaLR", "MultiplicativeLR", "SequentialLR", "ChainedScheduler")
}


def optimizer(name: str) -> type[torch.optim.Optimizer]:
    """An optimizer of torch.optim by its name in any case.

    Raises:
        SpecError: there is none of that name that can train a model by itself.
    """
    return _find(_OPTIMIZERS, name, "optimizer")


def scheduler(name: str) -> type[lr_scheduler.LRScheduler]:
    """A scheduler of torch.optim.lr_scheduler by its name in any case.

    Raises:
        SpecError: there is none of that name whose arguments can be written in YAML.
    """
    return _find(_SCHEDULERS, name, "scheduler")


def _find(known: dict[str, type[T]], name: str, kind: str) -> type[T]:
    found = known.get(name.lower())
    if found is not None:
        return found
    names = sorted(one.__name__ for one in known.values())
    close = difflib.get_close_matches(name.lower(), known, n=1)
    hint = f" Did you mean {known[close[0]].__name__}?" if close else ""
    raise SpecError(f"Unknown {kind} {name!r}.{hint} Known: {', '.join(names)}")
