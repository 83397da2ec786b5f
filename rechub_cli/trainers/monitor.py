"""The value that tells the best weights where there are several labels."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from rechub_cli import plugins
from rechub_cli.errors import SpecError
from rechub_cli.schema import Task
from rechub_cli.trainers.scoring import fits, load_metrics, metric_key

OWN = {"classification": "auc", "regression": "rmse"}  # the metric of each type of label
COMBINED = "monitor"


class Monitor:
    """One metric of one label, or a weighted sum of several.

    Args:
        wanted: a metric (of the main label), ``<metric>_<label>``, or ``{<metric>_<label>: weight}``; None is the main
            label's own metric.
        tasks: the labels.
        main: the label that a metric without a label is of.

    Attributes:
        name: the name its value goes by: of the metric, or ``monitor``.
        metrics: all metrics that it needs, by name.

    Raises:
        SpecError: there is no such metric or label, they do not fit, or the terms of a sum do not agree on whether
            higher is better.
    """

    def __init__(self, wanted: Any, tasks: Sequence[Task], main: Task) -> None:
        self.tasks, self.main = tasks, main
        self.metrics: dict[str, Any] = {}
        self.terms: dict[str, float] = {}  # names of values -> weight
        if wanted is None:
            wanted = OWN[main.type]
        directions = {}
        for one, weight in (wanted if isinstance(wanted, Mapping) else {wanted: 1.0}).items():
            if isinstance(weight, bool) or not isinstance(weight, int | float) or not weight:
                raise SpecError(f"monitor: the weight of {one} must be a number other than 0, not {weight!r}")
            key, metric = self._resolve(one)
            self.terms[key] = float(weight)
            directions[key] = metric.higher_is_better == (weight > 0)
        if not self.terms:
            raise SpecError("monitor: a weighted sum needs at least one metric")
        if len(set(directions.values())) > 1:
            lower = ", ".join(key for key, higher in directions.items() if not higher)
            raise SpecError(
                f"monitor: lower is better for {lower}, and higher for the others: give it a weight below 0"
            )
        self.higher_is_better = next(iter(directions.values()))
        self.name = COMBINED if isinstance(wanted, Mapping) else next(iter(self.terms))

    def add_to(self, values: dict[str, float]) -> dict[str, float]:
        """The measured ``values``, with the weighted sum among them."""
        if self.name not in values:
            values[self.name] = sum(weight * values[key] for key, weight in self.terms.items())
        return values

    def _resolve(self, wanted: Any) -> tuple[str, Any]:
        """The name of a value as ``Scorer.measure`` has it, and its metric."""
        metric, task = wanted, self.main
        if isinstance(wanted, str):
            for other in sorted(self.tasks, key=lambda task: -len(task.name)):
                plain = wanted.removesuffix(f"_{other.name}")
                if plain != wanted and (":" in plain or _known(plain)):
                    metric, task = plain, other
                    break
            else:
                if ":" not in wanted and not _known(wanted):
                    raise SpecError(self._unknown(wanted))
        name = metric_key(metric)
        loaded = load_metrics([metric], [task])[name]
        if not getattr(loaded, "monitor", True):
            raise SpecError(f"{name} cannot be monitored: neither higher nor lower is better")
        if not fits(loaded, task, self.tasks):
            raise SpecError(f"monitor: {name} is for the labels that are numbers, not for {task.name}")
        self.metrics[name] = loaded
        return (name if len(self.tasks) == 1 else f"{name}_{task.name}"), loaded

    def _unknown(self, wanted: str) -> str:
        names = plugins.names("metrics")
        possible = names if len(self.tasks) == 1 else [f"{name}_{task.name}" for name in names for task in self.tasks]
        guess = difflib.get_close_matches(wanted, possible, 1, 0.6)
        hint = f"; did you mean '{guess[0]}'?" if guess else ""
        labels = ", ".join(task.name for task in self.tasks)
        return (
            f"monitor '{wanted}' is neither a metric nor <metric>_<label>{hint}"
            f" (metrics: {', '.join(names)}; labels: {labels})"
        )


def _known(name: str) -> bool:
    return name.lower().rpartition("@")[0 if "@" in name else 2] in plugins.names("metrics")
