"""A run's model made anew for its weights: what the run says of it is checked against them."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rechub_cli import plugins
from rechub_cli.errors import DataError, RunFailed, SpecError
from rechub_cli.workflows.fitting import build_model
from rechub_cli.workflows.tables import first_line

if TYPE_CHECKING:
    from torch import Tensor, nn

    from rechub_cli.schema import Schema
    from rechub_cli.spec.model import Spec

_FREE = 64 << 20  # bytes that the making of any model may take
_TIMES = 4  # the bytes of its weights, for what is made on the way


def rebuild(spec: Spec, schema: Schema, weights: Mapping[str, Tensor], run: Path) -> nn.Module:
    """The model of a run with its weights.

    Raises:
        DataError: the run describes another model than the weights are of, or one many times as large.
        Unavailable: the model's own code cannot be imported or made.
    """
    if ":" in spec.model.name:
        model = build_model(spec, schema, run)
    else:
        try:
            plugins.find("models", spec.model.name)
        except SpecError as error:
            raise DataError(f"{run / 'run.json'} is damaged, or of another rechub: {first_line(error)}") from error
        held = sum(one.numel() * one.element_size() for one in weights.values())
        try:
            with _at_most(_FREE + _TIMES * held):
                model = build_model(spec, schema, run)
        except (RunFailed, SpecError, ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
            raise DataError(f"{run} is damaged: its model cannot be made: {first_line(error)}") from error
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise DataError(f"the weights in {run} do not fit its model: {first_line(error)}") from error
    return model


@contextlib.contextmanager
def _at_most(most: int) -> Iterator[None]:
    """Within, tensors may be made of so many bytes. Raises RuntimeError before the one that is too large."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Ceiling(TorchDispatchMode):
        left = most

        @classmethod
        def _should_skip_dynamo(cls) -> bool:
            return False  # otherwise torch imports its compiler here, a second and a half, to keep it away

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if args and isinstance(args[0], list | tuple) and all(isinstance(one, int) for one in args[0]):
                self.left -= 4 * math.prod(args[0])
                if self.left < 0:
                    raise RuntimeError("it would be many times as large as its weights")
            return func(*args, **(kwargs or {}))

    with Ceiling():
        yield
