"""What a ranking of the catalogue gave, and the metrics of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rechub_cli import plugins
from rechub_cli.errors import SpecError
from rechub_cli.nn.ranks import Ranking
from rechub_cli.trainers.scoring import metric_key


@dataclass(frozen=True, slots=True)
class Ranked:
    """How a catalogue ranks for queries: what metrics are computed from, over all queries or some."""

    ranking: Ranking
    by_count: Ranking | None  # by the items' training counts
    mark: str  # of sampled candidates, behind a metric's name

    def __len__(self) -> int:
        return len(self.ranking.starts) - 1

    def take(self, rows: np.ndarray) -> Ranked:
        """Some of the queries, by their places; one may be taken several times."""
        return Ranked(self.ranking.take(rows), None if self.by_count is None else self.by_count.take(rows), self.mark)

    def metrics(self, metrics: Mapping[str, Any]) -> dict[str, float]:
        """The metrics of these queries, and ``popular_<metric>``: what training counts would reach as scores."""
        wanted = {name: metric for name, metric in metrics.items() if not (self.mark and metric.needs_top)}
        result = {f"{name}{self.mark}": float(metric(self.ranking)) for name, metric in wanted.items()}
        if self.by_count is not None:
            beside = {name: metric for name, metric in wanted.items() if not metric.needs_top}
            result |= {f"popular_{name}{self.mark}": float(m(self.by_count)) for name, m in beside.items()}
        return result


def load_metrics(names: Sequence[Any]) -> dict[str, Any]:
    """Retrieval metrics by name (``recall@10``), or objects like them (named after their class).

    Raises:
        SpecError: a name is not known, or takes no ``k``.
    """
    metrics = {}
    for name in names:
        metric = plugins.load_metric(name, kind="retrieval_metrics") if isinstance(name, str) else name
        missing = [part for part in ("higher_is_better", "needs_top") if not hasattr(metric, part)]
        if missing:
            raise SpecError(f"metric {metric_key(name)} does not say its {missing[0]}: it is no retrieval metric")
        metrics[metric_key(name)] = metric
    return metrics
