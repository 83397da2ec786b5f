"""How the losses of several tasks become one gradient, and what is remembered of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from rechub_cli import plugins
from rechub_cli.errors import SpecError
from rechub_cli.optim.shared import Shared
from rechub_cli.schema import Task
from rechub_cli.trainers.restore import check_like


class Weighting(Protocol):
    """A plugin of ``rechub.weightings``: ``Class(tasks, *, options)``, best an ``nn.Module``.

    A task without a single label in a batch has a loss of exactly 0 and no gradient there.
    An attribute ``lr``, where it is not None, is the learning rate of ``parameters``. ``steady = True`` promises that
    ``backward`` and ``after_step`` are the same operations at every step, whatever the values are, and replace no
    tensor: they may then be recorded (see ``trainers/replay.py``).
    """

    weights: Tensor  # (T,) what each loss counts with, for the log

    def parameters(self) -> Iterable[nn.Parameter]:
        """What the trainer's optimizer learns beside the model, never decayed, in the last parameter group."""

    def backward(self, losses: Sequence[Tensor], shared: Shared) -> None:
        """Leave the gradient of every parameter, from the scalar loss of each task."""

    def after_step(self) -> None:
        """The optimizers have moved."""

    def epoch_end(self, losses: Tensor) -> None:
        """An epoch is over; ``losses`` (T,) are the tasks' mean losses in it, NaN where a task had no label."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> Any: ...


def load_weighting(adaptive_params: Mapping[str, Any] | None, tasks: Sequence[Task], main: Task) -> Weighting:
    """The weighting that ``{"method": name, option: value}`` stands for; ``equal`` where nothing is said.

    An option ``target`` that is not given is the task that tells the best weights.

    Raises:
        SpecError: there is no such method or option.
    """
    params = dict(adaptive_params or {"method": "equal"})
    method = params.pop("method", None)
    if not isinstance(method, str):
        known = ", ".join(plugins.names("weightings"))
        raise SpecError(f'adaptive_params needs the method: {{"method": "uwl"}} (known: {known})')
    known_options = plugins.options("weightings", method)
    if "target" in known_options:
        params.setdefault("target", main.name)
    checked, problems = plugins.check_options("weightings", method, params)
    if problems:
        hints = [f"; did you mean '{problem.suggestion}'?" if problem.suggestion else "" for problem in problems]
        texts = [
            problem.text if problem.unknown else f"{'.'.join(map(str, problem.path))}: {problem.text}"
            for problem in problems
        ]
        raise SpecError("adaptive_params: " + "; ".join(map("".join, zip(texts, hints, strict=True))))
    return plugins.load("weightings", method)(tasks, **checked)


class Balance:
    """A weighting at work: each task's mean loss over an epoch beside it.

    Args:
        weighting: what turns the losses into one gradient.
        tasks: their names are those of the means.
    """

    def __init__(self, weighting: Weighting, tasks: Sequence[Task], device: torch.device) -> None:
        self.weighting = weighting
        self.names = [task.name for task in tasks]
        dtype = torch.float32 if device.type == "mps" else torch.float64
        self.sums, self.counts = torch.zeros(2, len(tasks), dtype=dtype, device=device)
        self.finished: list[float] = []  # the means of the last epoch

    def backward(self, losses: Sequence[Tensor], known: Tensor, shared: Shared) -> Tensor:
        """Leave the gradients of one step; ``known`` (T,) labels there are. The plain sum of the losses."""
        self.weighting.backward(losses, shared)
        values = torch.stack([loss.detach() for loss in losses])
        self.sums += values * known
        self.counts += known
        return values.sum()

    def means(self) -> Tensor:
        """(T,): the mean losses of the epoch so far; NaN where a task had no label."""
        return self.sums / self.counts

    def task_losses(self) -> dict[str, float]:
        return dict(zip(self.names, self.means().tolist(), strict=True))

    def task_weights(self) -> dict[str, float]:
        return dict(zip(self.names, self.weighting.weights.tolist(), strict=True))

    def end_epoch(self) -> None:
        means = self.means()
        self.finished = means.tolist()
        self.weighting.epoch_end(means)
        self.clear()

    def clear(self) -> None:
        """Forget the losses of the epoch that runs."""
        self.sums.zero_()
        self.counts.zero_()

    def state(self) -> dict[str, Any]:
        return {"weighting": self.weighting.state_dict(), "sums": self.sums, "counts": self.counts}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Raises ValueError, KeyError, TypeError or RuntimeError where it is not the state of this."""
        check_like([self.sums, self.counts], [state["sums"].to(self.sums), state["counts"].to(self.counts)], "losses")
        self.weighting.load_state_dict(state["weighting"])
        self.sums.copy_(state["sums"])
        self.counts.copy_(state["counts"])
