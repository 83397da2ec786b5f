"""Saved state is data from a file that anyone may have changed: it must fit before anything is done with it."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from rechub_cli.errors import DataError

SIDES = (2, 3, 5, 7, 11)  # of the parameters by which an optimizer shows what it keeps


@contextmanager
def fitting(what: str) -> Iterator[None]:
    """Turn what goes wrong with saved data into a DataError that says what of it does not fit."""
    try:
        yield
    except DataError:
        raise
    except KeyError as error:
        raise DataError(f"{what} does not fit this training: {error} is missing") from error
    except (TypeError, ValueError, AttributeError, IndexError, RuntimeError, OverflowError, AssertionError) as error:
        said = (str(error) or type(error).__name__).splitlines()[0]
        raise DataError(f"{what} does not fit this training: {said}") from error


def check_like(wanted: Any, found: Any, where: str) -> None:
    """Raises ValueError unless ``found`` has the form of ``wanted``: types, keys, lengths, shapes."""
    if isinstance(wanted, Tensor):
        same = isinstance(found, Tensor) and (found.shape, found.dtype) == (wanted.shape, wanted.dtype)
    elif wanted is None or isinstance(wanted, bool | str):
        same = type(found) is type(wanted)
    elif isinstance(wanted, int | float):
        same = isinstance(found, int | float) and not isinstance(found, bool)
    elif isinstance(wanted, Mapping):
        same = isinstance(found, Mapping) and found.keys() == wanted.keys()
        for key in wanted if same else ():
            check_like(wanted[key], found[key], f"{where}.{key}")
    elif isinstance(wanted, list | tuple):
        same = isinstance(found, list | tuple) and len(found) == len(wanted)
        for place in range(len(wanted) if same else 0):
            check_like(wanted[place], found[place], f"{where}.{place}")
    else:
        same = False
    if not same:
        raise ValueError(f"{where} is {describe(found)}, not {describe(wanted)}")


def describe(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
    if isinstance(value, Mapping):
        return f"a mapping of {', '.join(map(str, value))[:80]}" if value else "an empty mapping"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    return "null" if value is None else type(value).__name__


def load_weights(model: nn.Module, weights: Mapping[str, Tensor], where: str) -> None:
    """Put saved weights into the model. Raises DataError where they are not this model's."""
    with fitting(where):
        check_like(model.state_dict(), weights, "weights")
        model.load_state_dict(weights)


def load_optimizer(optimizer: Optimizer, saved: Mapping[str, Any]) -> None:
    """Raises ValueError, KeyError or TypeError where ``saved`` is not the state of such an optimizer."""
    own = optimizer.state_dict()
    check_like(own["param_groups"], saved["param_groups"], "param_groups")
    places = [place for group in own["param_groups"] for place in group["params"]]
    if [place for group in saved["param_groups"] for place in group["params"]] != places:
        raise ValueError("the parameters are numbered otherwise")
    parameters = [(parameter, group) for group in optimizer.param_groups for parameter in group["params"]]
    by_place = dict(zip(places, parameters, strict=True))
    kept: dict[int, dict[str, Any]] = {}
    for place, state in saved["state"].items():
        parameter, group = by_place[place]
        if state:
            _check_kept(optimizer, group, parameter, state, f"state.{place}")
        kept[place] = {name: value.clone() if isinstance(value, Tensor) else value for name, value in state.items()}
    optimizer.load_state_dict({"state": kept, "param_groups": list(saved["param_groups"])})


def _check_kept(optimizer: Optimizer, group: Mapping[str, Any], parameter: Tensor, state: Any, where: str) -> None:
    """Raises ValueError unless ``state`` is what such an optimizer keeps of such a parameter."""
    probe, wanted = _probe(optimizer, group, parameter.dim())
    if wanted is None:
        return
    if not isinstance(state, Mapping) or state.keys() != wanted.keys():
        raise ValueError(f"{where} is {describe(state)}, not {describe(wanted)}")
    sides = dict(zip(probe.shape, parameter.shape, strict=True))
    for name, value in wanted.items():
        like = value
        if isinstance(value, Tensor):
            like = value.new_empty(()).expand([sides.get(side, side) for side in value.shape])
        check_like(like, state[name], f"{where}.{name}")


def _probe(optimizer: Optimizer, group: Mapping[str, Any], dim: int) -> tuple[Tensor, dict[str, Any] | None]:
    """A small parameter of ``dim`` dimensions, and what is kept of it; None where the optimizer does not show it."""
    probe = nn.Parameter(torch.zeros(SIDES[:dim]))
    probe.grad = torch.zeros_like(probe)
    known = inspect.signature(type(optimizer)).parameters
    options = {name: value for name, value in group.items() if name in known and name != "params"}
    try:
        fresh = type(optimizer)([probe], **options)
        fresh.step()
        return probe, dict(fresh.state[probe])
    except Exception:  # an optimizer from elsewhere, with needs of its own
        return probe, None
