"""Whether gradients are added up in an order that threads decide: then no training repeats to the bit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


@contextmanager
def unordered_sums() -> Iterator[list[str]]:
    """The gradients within whose parts several threads may add in any order, in words.

    That of ``x[places]`` is one, where a place is there twice and a row of x is a vector: large ones are shared among
    threads. ``F.embedding(places, x)`` gives the same values, and a gradient that repeats.
    """
    with _Watch() as watch:
        yield watch.found


class _Watch(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # otherwise torch imports its compiler here

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket in (
            torch.ops.aten.index_put,
            torch.ops.aten.index_put_,
            torch.ops.aten._index_put_impl_,
        ):
            into, indices, adds = args[0], args[1], len(args) > 3 and args[3]
            if adds and into.dtype.is_floating_point and _repeats(indices):
                self.found.append(f"that of x[places], where x is {tuple(into.shape)}")
        return func(*args, **(kwargs or {}))


def _repeats(indices: list[Tensor | None]) -> bool:
    given = [index for index in indices if index is not None]
    if any(index.dtype == torch.bool for index in given):
        return False
    places = torch.stack(torch.broadcast_tensors(*given)).flatten(1)
    return torch.unique(places, dim=1).shape[1] < places.shape[1]
