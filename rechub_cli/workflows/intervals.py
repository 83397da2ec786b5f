"""Bootstrap intervals of metrics: how much of a difference is the luck of these rows.

Efron and Tibshirani, An Introduction to the Bootstrap (1993): percentile intervals. Rows of one user belong together,
so users are drawn where it is known who they are; two runs are measured on the same draws.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rechub_cli.errors import UsageError
from rechub_cli.run.events import Events, Progress
from rechub_cli.run.signals import Stop
from rechub_cli.workflows.segments import Collected

if TYPE_CHECKING:
    import numpy as np

Interval = tuple[float, float]  # low, high; NaN where the metric is undefined in too many draws


@dataclass(frozen=True, slots=True)
class Intervals:
    """An interval for each metric, of the run, of the other run, and of their difference."""

    level: float
    draws: int
    unit: str  # the column whose values were drawn, or "rows"
    metrics: dict[str, Interval]
    against: dict[str, Interval] | None
    difference: dict[str, Interval] | None

    @classmethod
    def of(
        cls,
        found: Collected,
        beside: Collected | None,
        level: float,
        draws: int,
        seed: int,
        events: Events,
        stop: Stop,
    ) -> Intervals:
        """Raises Interrupted when a signal asks to stop."""
        import numpy as np

        codes = None if found.cluster is None else found.codes(found.cluster)[0]
        rng = np.random.default_rng(seed % 2**63)
        resample = Resampler(len(found), codes)
        mine: list[dict[str, float]] = []
        theirs: list[dict[str, float]] = []
        for draw in range(draws):
            rows = resample(rng)
            mine.append(found.metrics(rows))
            if beside is not None:
                theirs.append(beside.metrics(rows))
            events.tick(Progress("bootstrap", draw + 1, draws, "draws"))
            stop.check()
        differences = [
            {name: one[name] - other[name] for name in one if name in other}
            for one, other in zip(mine, theirs, strict=False)
        ]
        return cls(
            level,
            draws,
            found.cluster or "rows",
            _intervals(mine, level),
            None if beside is None else _intervals(theirs, level),
            None if beside is None else _intervals(differences, level),
        )

    def to_json(self) -> dict[str, Any]:
        found = {"level": self.level, "draws": self.draws, "unit": self.unit, "metrics": self.metrics}
        beside = {"against": self.against, "difference": self.difference}
        return found | {name: value for name, value in beside.items() if value is not None}


class Resampler:
    """Places of rows, drawn with repetition: single rows, or all rows of the units that ``codes`` tells."""

    def __init__(self, n: int, codes: np.ndarray | None) -> None:
        import numpy as np

        self.n, self.order, self.starts = n, None, None
        if codes is not None:
            self.order = np.argsort(codes, kind="stable")
            self.starts = np.r_[0, np.bincount(codes).cumsum()]

    def __call__(self, rng: np.random.Generator) -> np.ndarray:
        import numpy as np

        if self.order is None or self.starts is None:
            return rng.integers(0, self.n, self.n)
        units = rng.integers(0, len(self.starts) - 1, len(self.starts) - 1)
        lengths = np.diff(self.starts)[units]
        ends = lengths.cumsum()
        places = np.arange(ends[-1]) + np.repeat(self.starts[:-1][units] - (ends - lengths), lengths)
        found: np.ndarray = self.order[places]
        return found


def _intervals(draws: Sequence[dict[str, float]], level: float) -> dict[str, Interval]:
    import numpy as np

    found = {}
    for name in draws[0]:
        values = np.array([draw.get(name, math.nan) for draw in draws])
        values = values[np.isfinite(values)]
        if len(values) * 2 < len(draws):
            found[name] = (math.nan, math.nan)
            continue
        low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
        found[name] = (float(low), float(high))
    return found


def check_level(level: float | None) -> None:
    """Raises UsageError."""
    if level is not None and not 0 < level < 1:
        raise UsageError(f"--intervals is {level}; it must lie between 0 and 1, such as 0.95")
