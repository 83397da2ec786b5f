"""``rechub evaluate``: a trained model's metrics on labelled rows. Nothing is written into the run."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from rechub_cli import plugins
from rechub_cli.errors import CheckFailed, SpecError, UsageError
from rechub_cli.run.events import Events
from rechub_cli.run.signals import Stop
from rechub_cli.spec.tasks import split_label
from rechub_cli.workflows.load import Trained, open_trained
from rechub_cli.workflows.newdata import (
    check_columns,
    check_request,
    open_data,
    prepare_threads,
    report_unseen,
    with_newer,
)
from rechub_cli.workflows.sources import check_counts, counted, limited

if TYPE_CHECKING:
    from rechub_cli.data.chunk import Rows
    from rechub_cli.data.loader import StreamLoader

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_NAME = r"[\w@\[\]]+"
_COMPARISON = re.compile(rf"\s*({_NAME})\s*(>=|<=|==|!=|>|<)\s*({_NUMBER})\s*")
_RANGE = re.compile(rf"\s*({_NAME})\s+in\s+({_NUMBER})\s*\.\.\s*({_NUMBER})\s*")


@dataclass(frozen=True, slots=True)
class EvaluateRequest:
    """What the user asked for."""

    run: str
    data: str | None
    metrics: tuple[str, ...] = ()
    require: tuple[str, ...] = ()
    fail_if: tuple[str, ...] = ()
    input_format: str = "auto"
    limit_rows: int | None = None
    batch_size: int | None = None
    device: str | None = None
    threads: int | None = None
    plugin: bool = False
    history: tuple[str, ...] = ()
    exclude_seen: bool = False  # retrieval: rank without what each user had in train and valid
    candidates: str | None = None  # retrieval: all, uniform:N or popularity:N


@dataclass(frozen=True, slots=True)
class EvaluateOutcome:
    """Metrics by name, and which requirements did not hold."""

    run: str
    rows: int
    metrics: dict[str, float]
    gates: tuple[Gate, ...] = ()

    def to_json(self) -> dict[str, Any]:
        gates = [
            {"flag": gate.flag, "condition": gate.text, "passed": gate.passes(self.metrics)} for gate in self.gates
        ]
        return {"run": self.run, "rows": self.rows, "metrics": self.metrics, "gates": gates}

    def raise_if_failed(self) -> None:
        """Raises CheckFailed naming every gate that did not let these metrics pass."""
        failed = [gate for gate in self.gates if not gate.passes(self.metrics)]
        if failed:
            values = [gate.value(self.metrics) for gate in failed]
            told = [
                f"{gate.flag} '{gate.text}': {gate.metric} is {'undefined' if math.isnan(value) else f'{value:.6g}'}"
                for gate, value in zip(failed, values, strict=True)
            ]
            raise CheckFailed("\n".join(told))


@dataclass(frozen=True, slots=True)
class Gate:
    """``--require 'auc >= 0.75'``, ``--require 'calibration in 0.95..1.05'``, ``--fail-if 'auc < 0.7'``."""

    flag: str
    text: str
    metric: str
    low: float = -math.inf
    high: float = math.inf
    strict: bool = False
    negated: bool = False

    @classmethod
    def parse(cls, flag: str, text: str) -> Gate:
        """Raises UsageError where it is neither a comparison with a number nor a range."""
        unless = flag == "--fail-if"
        found = _RANGE.fullmatch(text)
        if found:
            return cls(flag, text, found[1].lower(), float(found[2]), float(found[3]), negated=unless)
        found = _COMPARISON.fullmatch(text)
        if not found:
            raise UsageError(f"{flag} {text!r} is not 'metric >= number' or 'metric in low..high'")
        name, sign, value = found[1].lower(), found[2], float(found[3])
        if sign in ("==", "!="):
            return cls(flag, text, name, value, value, negated=(sign == "!=") != unless)
        bounds = {"low": value} if sign[0] == ">" else {"high": value}
        return cls(flag, text, name, **bounds, strict=len(sign) == 1, negated=unless)

    def value(self, metrics: dict[str, float]) -> float:
        """Its metric's value, whatever the case of the name; NaN where it is absent."""
        return next((value for name, value in metrics.items() if name.lower() == self.metric), math.nan)

    def passes(self, metrics: dict[str, float]) -> bool:
        """A metric that is absent or not a number never passes, whatever is asked of it."""
        value = self.value(metrics)
        if math.isnan(value):
            return False
        inside = self.low < value < self.high if self.strict else self.low <= value <= self.high
        return inside != self.negated


def evaluate(request: EvaluateRequest, events: Events, stop: Stop) -> EvaluateOutcome:
    """Compute the run's metrics, and those asked for, on other data.

    Raises:
        RechubError: with the exit code of its kind.
    """
    from rechub_cli.data.events import event_columns
    from rechub_cli.workflows import ranking
    from rechub_cli.workflows.fitting import blaming_foreign

    data = check_request(request.run, request.data, request.input_format)
    check_counts(limit_rows=request.limit_rows, batch_size=request.batch_size, threads=request.threads)
    stop.events = events
    gates = [Gate.parse("--require", text) for text in request.require]
    gates += [Gate.parse("--fail-if", text) for text in request.fail_if]
    trained = open_trained(Path(request.run), device=request.device, plugin=request.plugin, events=events, stop=stop)
    judge: Judge = ranking.Judge(trained) if trained.catalogue is not None else LabelJudge(trained)
    judge.choose(request, [gate.metric for gate in gates])
    needed = [*judge.columns, *event_columns(trained.encoder)]
    source = open_data(trained, data, request.input_format, condition=trained.spec.data.filter, needed=needed)
    check_columns(data, source, judge.columns)
    judge.trained = with_newer(trained, request.history, request.input_format, source)
    rows = limited(source, request.limit_rows)
    prepare_threads(request.threads)
    loader = judge.loader(rows, request.batch_size or trained.spec.trainer.batch_size)
    with blaming_foreign(trained.model, trained.spec, "scoring"):
        metrics = judge.measure(counted(loader, events, "evaluate", rows.count_rows()))
    report_unseen(loader, events)
    said = " ".join(f"{name} {value:.4f}" for name, value in metrics.items())
    events.emit("eval.result", f"{loader.rows:,} rows  {said}", {"rows": loader.rows, **metrics})
    return EvaluateOutcome(request.run, loader.rows, metrics, tuple(gates))


class Judge(Protocol):
    """How a run is measured: by the labels of rows, or by how its catalogue ranks for them."""

    trained: Trained

    @property
    def columns(self) -> list[str]:
        """The raw columns that it reads."""

    def choose(self, request: EvaluateRequest, gated: Sequence[str]) -> None:
        """Settle on metrics: the run's, those asked for, those that gates need. Raises UsageError."""

    def loader(self, rows: Rows, batch_size: int) -> StreamLoader: ...

    def measure(self, batches: Iterable[Any]) -> dict[str, float]: ...


@dataclass(slots=True)
class LabelJudge:
    """Metrics of scores against labels."""

    trained: Trained
    metrics: dict[str, Any] = field(default_factory=dict)

    @property
    def columns(self) -> list[str]:
        encoder = self.trained.encoder
        return list(dict.fromkeys([*encoder.columns, *encoder.label_columns]))

    def choose(self, request: EvaluateRequest, gated: Sequence[str]) -> None:
        from rechub_cli.trainers.scoring import load_metrics
        from rechub_cli.workflows.fitting import load_named, metrics_of

        if request.exclude_seen or request.candidates:
            raise UsageError("--exclude-seen and --candidates are for retrieval runs, made by train-match")
        own = load_named(metrics_of(self.trained.spec), self.trained.run.path)
        tasks = self.trained.encoder.schema.tasks
        derived = getattr(self.trained.model, "given", ())
        known = [*(task.name for task in tasks), *derived] if len(tasks) > 1 else []
        wanted = [*own, *load_named(request.metrics, Path()), *(plain_metric(name, known) for name in gated)]
        try:
            self.metrics = load_metrics(wanted, tasks)
        except SpecError as error:
            raise UsageError(str(error)) from error

    def loader(self, rows: Rows, batch_size: int) -> StreamLoader:
        from rechub_cli.data.loader import StreamLoader

        return StreamLoader(rows, self.trained.encoder, batch_size, labels=True)

    def measure(self, batches: Iterable[Any]) -> dict[str, float]:
        return self.trained.scorer.measure(self.trained.model, batches, self.metrics)


def plain_metric(name: str, labels: Sequence[str]) -> str:
    """``auc_click`` is the metric auc of one of several labels. Raises UsageError for auc alone: of which?"""
    metric, label = split_label(name, [label.lower() for label in labels])
    if labels and label is None and name in plugins.names("metrics"):
        raise UsageError(f"{name} of which label? {', '.join(f'{name}_{label}' for label in labels)}")
    return metric
