"""Nested training state <-> a flat dict of tensors and JSON values: nothing in it can run code."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from rechub_cli.errors import RunFailed


def flatten(name: str, value: Any) -> dict[str, Any]:
    """``{name: JSON tree}`` and an entry for each tensor within, which the tree names.

    Raises:
        RunFailed: the value holds something that is neither data nor a tensor.
    """
    flat: dict[str, Any] = {}
    flat[name] = _pack(value, name, flat)
    return flat


def unflatten(name: str, flat: Mapping[str, Any]) -> Any:
    """What ``flatten`` was given. Raises KeyError, TypeError or ValueError where it was given nothing of the kind."""
    return _unpack(flat[name], flat)


def _pack(value: Any, path: str, flat: dict[str, Any]) -> Any:
    if isinstance(value, Tensor):
        key = f"{path}/tensor"
        flat[key] = value.detach()
        return {"tensor": key}
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(value)}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Counter):  # milestones of a scheduler
        return {"counts": list(value.items())}
    if isinstance(value, Mapping):
        return {"items": [[key, _pack(item, f"{path}/{key}", flat)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        return [_pack(item, f"{path}/{i}", flat) for i, item in enumerate(value)]
    raise RunFailed(f"cannot save {path} for resuming: a {type(value).__name__} is not plain data")


def _unpack(value: Any, flat: Mapping[str, Any]) -> Any:
    if isinstance(value, list):
        return [_unpack(item, flat) for item in value]
    if not isinstance(value, dict):
        return value
    if "tensor" in value:
        return flat[value["tensor"]]
    if "float" in value:
        return float(value["float"])
    if "counts" in value:
        return Counter(dict(value["counts"]))
    return {key: _unpack(item, flat) for key, item in value["items"]}
