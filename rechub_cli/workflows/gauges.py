"""What ``--prometheus FILE`` tells of a command that ended well."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rechub_cli.run.directory import Run
from rechub_cli.run.prometheus import Sample

if TYPE_CHECKING:
    from rechub_cli.workflows.drift import Drift
    from rechub_cli.workflows.evaluate import EvaluateOutcome
    from rechub_cli.workflows.predict import PredictOutcome
    from rechub_cli.workflows.request import TrainOutcome


def of_training(outcome: TrainOutcome) -> Iterator[Sample]:
    """The best epoch's metrics on valid and test, rows of each part, and how long it took."""
    if outcome.run is None:  # a rehearsal
        return
    info = Run.open(outcome.run).info
    labels = labels_of(outcome.run)
    for part, metrics in (("valid", valid_metrics(outcome)), ("test", outcome.test)):
        for name, value in metrics.items():
            yield Sample("rechub_metric", {**labels, "part": part, "metric": name}, value)
    for part, known in info.get("data", {}).items():
        if known.get("rows") is not None:
            yield Sample("rechub_rows", {**labels, "part": part}, known["rows"])
    train = {**labels, "part": "train"}
    if outcome.best.get("train_loss") is not None:
        yield Sample("rechub_metric", {**train, "metric": "loss"}, outcome.best["train_loss"])
    if outcome.best.get("epoch") is not None:
        yield Sample("rechub_epoch", train, outcome.best["epoch"])
    if info.get("seconds") is not None:
        yield Sample("rechub_seconds", train, info["seconds"])
    yield ended(train)


def of_evaluation(run: str, outcome: EvaluateOutcome) -> Iterator[Sample]:
    """Its metrics, its rows and its drift."""
    labels = {**labels_of(Path(run)), "part": "evaluate"}
    for name, value in outcome.metrics.items():
        yield Sample("rechub_metric", {**labels, "metric": name}, value)
    yield Sample("rechub_rows", labels, outcome.rows)
    yield from of_drift(labels, outcome.drift)
    if all(gate.passes(outcome.values) for gate in outcome.gates):
        yield ended(labels)


def of_prediction(run: str, outcome: PredictOutcome) -> Iterator[Sample]:
    """Its rows and its drift."""
    labels = {**labels_of(Path(run)), "part": "predict"}
    yield Sample("rechub_rows", labels, outcome.rows)
    yield from of_drift(labels, outcome.drift)
    yield ended(labels)


def of_drift(labels: dict[str, str], drift: Drift) -> Iterator[Sample]:
    for shift in drift.shifts:
        own = {**labels, "column": shift.column, "measure": shift.measure}
        yield Sample("rechub_drift", own, shift.value)
        if shift.measure != "mean" and shift.training is not None:
            yield Sample("rechub_drift_training", own, shift.training)


def ended(labels: dict[str, str]) -> Sample:
    return Sample("rechub_last_success_timestamp_seconds", labels, time.time())


def labels_of(run: Path) -> dict[str, str]:
    """The run's own name, whatever name or link it was asked for by, and its model."""
    info = Run.open(run).info
    return {"run": str(info.get("run", run.name)), "model": str(info.get("spec", {}).get("model", {}).get("name", ""))}


def valid_metrics(outcome: TrainOutcome) -> dict[str, float]:
    found = {name.removeprefix("val_"): value for name, value in outcome.best.items() if name.startswith("val_")}
    return {name: value for name, value in found.items() if value is not None}
