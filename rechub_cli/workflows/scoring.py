"""Scores as rows of a table, beside the columns that were kept; written while they come."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from rechub_cli.files import creating

if TYPE_CHECKING:
    from torch import Tensor, nn

    from rechub_cli.data.source import Source
    from rechub_cli.trainers.scoring import Scorer, Scores


def measure_and_write(
    scorer: Scorer, model: nn.Module, loader: Iterable[Any], metrics: Sequence[Any], target: Path
) -> dict[str, float]:
    """One pass over labelled rows: their metrics, and their scores in a Parquet file."""
    from rechub_cli.data.writers import open_writer
    from rechub_cli.trainers.scoring import load_metrics

    names = score_names([task.name for task in scorer.tasks])
    with creating(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    with open_writer(str(target), format="parquet", overwrite=True) as writer:

        def write(scored: Scores) -> None:
            writer.write(score_table(scored.scores, scored.extras, scored.rows.carried, names))

        return scorer.measure(model, loader, load_metrics(metrics, scorer.tasks), each=write)


def score_names(tasks: Sequence[str]) -> list[str]:
    """``score``, or ``score_<task>`` where there are several."""
    return ["score"] if len(tasks) <= 1 else [f"score_{task}" for task in tasks]


def no_rows(source: Source, keep: Sequence[str], names: Sequence[str]) -> pa.Table:
    """The columns that scores would have: the output of no input is still a table."""
    kept = [source.schema.field(name) for name in keep]
    return pa.schema([*kept, *(pa.field(name, pa.float32()) for name in names)]).empty_table()


def score_table(scores: Tensor, extras: Mapping[str, Tensor], kept: pa.Table | None, names: Sequence[str]) -> pa.Table:
    """The kept columns, then one float32 column for each task and each named extra; gates keep their names."""
    columns = {} if kept is None else {name: kept.column(name) for name in kept.column_names}
    found = scores.float().cpu().numpy()
    for place, name in enumerate(names):
        columns[name] = pa.array(np.ascontiguousarray(found[:, place]))
    for name, values in extras.items():
        columns[name if name.startswith("gate") else f"score_{name}"] = pa.array(values.float().cpu().numpy())
    return pa.table(columns)
