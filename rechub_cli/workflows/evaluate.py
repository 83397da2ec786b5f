"""``rechub evaluate``: a trained model's metrics on labelled rows. Nothing is written into the run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from rechub_cli import plugins
from rechub_cli.errors import DataError, SpecError, UsageError
from rechub_cli.run.events import Events
from rechub_cli.run.signals import Stop
from rechub_cli.spec.tasks import split_label
from rechub_cli.workflows import ranking
from rechub_cli.workflows.drift import NOTHING, UNKNOWN, Allowed, Drift, check_drift
from rechub_cli.workflows.gates import AGAINST, DRIFT, Gate, check_gates, read_gates, values_of
from rechub_cli.workflows.intervals import Intervals, check_level
from rechub_cli.workflows.load import Trained, open_trained
from rechub_cli.workflows.newdata import (
    check_columns,
    check_request,
    open_data,
    prepare_threads,
    with_newer,
)
from rechub_cli.workflows.results import tell_metrics
from rechub_cli.workflows.segments import Collected, Kept, Measurable, Segments
from rechub_cli.workflows.sources import check_counts, counted, limited

if TYPE_CHECKING:
    from rechub_cli.data.chunk import Rows
    from rechub_cli.data.stream_loader import StreamLoader
    from rechub_cli.data.tally import Tally
    from rechub_cli.spec.model import Spec
    from rechub_cli.trainers.scoring import Scored


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
    allowed: Allowed = NOTHING  # drift
    against: str | None = None  # another run, measured on the same rows
    by: str | None = None  # a column: the metrics of each of its values too
    intervals: float | None = None  # the level of bootstrap intervals, such as 0.95
    bootstrap: int = 200  # resamples, for the intervals


@dataclass(frozen=True, slots=True)
class EvaluateOutcome:
    """Metrics by name, and which requirements did not hold."""

    run: str
    rows: int
    metrics: dict[str, float]
    gates: tuple[Gate, ...] = ()
    against: Against | None = None
    segments: Segments | None = None
    intervals: Intervals | None = None
    drift: Drift = UNKNOWN

    @property
    def values(self) -> dict[str, float]:
        """What gates are about: metrics, and ``drift.unseen.item_id`` and the like."""
        against = None if self.against is None else self.against.metrics
        return values_of({**self.metrics, **self.drift.values}, against)

    def to_json(self) -> dict[str, Any]:
        found: dict[str, Any] = {"run": self.run, "rows": self.rows, "metrics": self.metrics}
        if self.against is not None:
            found["against"] = {"run": self.against.run, "metrics": self.against.metrics}
        if self.intervals is not None:
            found["intervals"] = self.intervals.to_json()
        if self.segments is not None:
            found["segments"] = self.segments.to_json()
        found["gates"] = [gate.to_json(self.values) for gate in self.gates]
        return {**found, "drift": self.drift.to_json()}

    def raise_if_failed(self) -> None:
        """Raises CheckFailed naming every gate that did not let these metrics pass."""
        check_gates(self.gates, self.values)


@dataclass(frozen=True, slots=True)
class Against:
    """The other run on the same rows."""

    run: str
    metrics: dict[str, float]


def evaluate(request: EvaluateRequest, events: Events, stop: Stop) -> EvaluateOutcome:
    """Compute the run's metrics, and those asked for, on other data; those of another run beside them.

    Raises:
        RechubError: with the exit code of its kind.
    """
    data = check_request(request.run, request.data, request.input_format)
    check_counts(
        limit_rows=request.limit_rows,
        batch_size=request.batch_size,
        threads=request.threads,
        bootstrap=request.bootstrap,
    )
    check_level(request.intervals)
    gates = read_gates(request.require, request.fail_if, against=request.against is not None)
    if request.against is not None and data == "-":
        raise UsageError("--against reads the rows twice, which standard input cannot be; give a file")
    stop.events = events

    def opened(run: str) -> Judge:
        trained = open_trained(Path(run), device=request.device, plugin=request.plugin, events=events, stop=stop)
        return ranking.Judge(trained) if trained.catalogue is not None else LabelJudge(trained)

    judge = opened(request.run)
    request.allowed.check(judge.trained)
    judge.choose(request, [name for gate in gates for name in gate.names if not name.startswith((AGAINST, DRIFT))])
    condition = judge.trained.spec.data.filter
    other = None
    if request.against is not None:
        other = opened(request.against)
        check_comparable(judge.trained, other.trained)
        names = [name.removeprefix(AGAINST) for gate in gates for name in gate.names if name.startswith(AGAINST)]
        other.choose(request, names)
    found, met = collect(judge, request, condition, events)
    drift = check_drift(judge.trained, met, events, request.allowed)
    metrics = found.metrics()
    tell_metrics(events, f"{len(found):,} rows", metrics, {"rows": len(found)})
    against = beside = None
    if other is not None:
        beside, _ = collect(other, request, condition, events)
        if len(beside) != len(found):
            raise DataError(f"{data} was changed while it was read: {len(found):,} rows, then {len(beside):,}")
        against = Against(str(request.against), beside.metrics())
        tell_metrics(events, f"against {against.run}", against.metrics, {"against": against.run})
    segments = None if request.by is None else Segments.of(request.by, found, beside)
    intervals = None
    if request.intervals is not None:
        seed = judge.trained.spec.trainer.seed
        intervals = Intervals.of(found, beside, request.intervals, request.bootstrap, seed, events, stop)
    return EvaluateOutcome(request.run, len(found), metrics, gates, against, segments, intervals, drift)


def collect(judge: Judge, request: EvaluateRequest, condition: str | None, events: Events) -> tuple[Collected, Tally]:
    """One pass of a run over the data, and what was met in its columns."""
    from rechub_cli.data.events import event_columns
    from rechub_cli.workflows.fitting import blaming_foreign

    trained, data = judge.trained, str(request.data)
    keep = [name for name in (request.by, judge.cluster if request.intervals else None) if name]
    needed = [*judge.columns, *event_columns(trained.encoder), *keep]
    source = open_data(trained, data, request.input_format, condition=condition, needed=needed)
    check_columns(data, source, judge.columns)
    there = source.column_kinds()
    if request.by is not None and request.by not in there:
        raise UsageError(f"--by: {data} has no column {request.by}; columns there: {', '.join(there)}")
    cluster = judge.cluster if request.intervals and judge.cluster in there else None
    keep = list(dict.fromkeys(name for name in (request.by, cluster) if name))
    judge.trained = with_newer(trained, request.history, request.input_format, source)
    rows = limited(source, request.limit_rows)
    prepare_threads(request.threads)
    loader = judge.loader(rows, request.batch_size or trained.spec.trainer.batch_size, keep)
    kept = Kept(keep)
    with blaming_foreign(trained.model, trained.spec, "scoring"):
        batches = counted(kept.watch(loader), events, "evaluate", rows.count_rows())
        found = Collected(judge.collect(batches), judge.metrics, kept, cluster)
    return found, loader.met


def check_comparable(trained: Trained, other: Trained) -> None:
    """Raises UsageError where two runs do not measure the same thing."""
    if (trained.catalogue is None) != (other.catalogue is None):
        raise UsageError(f"--against {other.run.path}: one run scores rows and the other ranks a catalogue")
    for what, mine, theirs in zip(
        ("labels", "weight", "item"), measured_by(trained.spec), measured_by(other.spec), strict=True
    ):
        if mine != theirs:
            raise UsageError(
                f"--against {other.run.path}: the runs do not measure the same thing; {what}: {mine}, there {theirs}"
            )


def measured_by(spec: Spec) -> tuple[Any, ...]:
    """What metrics depend on besides scores."""
    labels = {
        name: (label.type, label.column or name, label.positive, label.weight, label.after)
        for name, label in spec.labels.items()
    }
    return labels, spec.weight, spec.item


class Judge(Protocol):
    """How a run is measured: by the labels of rows, or by how its catalogue ranks for them."""

    trained: Trained
    metrics: dict[str, Any]

    @property
    def columns(self) -> list[str]:
        """The raw columns that it reads."""

    def choose(self, request: EvaluateRequest, gated: Sequence[str]) -> None:
        """Settle on metrics: the run's, those asked for, those that gates need. Raises UsageError."""

    @property
    def cluster(self) -> str | None:
        """The column of whose values rows belong together, so that intervals resample these and not rows."""

    def loader(self, rows: Rows, batch_size: int, keep: Sequence[str]) -> StreamLoader: ...

    def collect(self, batches: Iterable[Any]) -> Measurable: ...


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

    @property
    def cluster(self) -> str | None:
        return self.trained.spec.group

    def loader(self, rows: Rows, batch_size: int, keep: Sequence[str]) -> StreamLoader:
        from rechub_cli.data.stream_loader import StreamLoader

        return StreamLoader(rows, self.trained.encoder, batch_size, labels=True, keep=keep)

    def collect(self, batches: Iterable[Any]) -> Scored:
        return self.trained.scorer.collect(self.trained.model, batches)


def plain_metric(name: str, labels: Sequence[str]) -> str:
    """``auc_click`` is the metric auc of one of several labels. Raises UsageError for auc alone: of which?"""
    metric, label = split_label(name, [label.lower() for label in labels])
    if labels and label is None and name in plugins.names("metrics"):
        raise UsageError(f"{name} of which label? {', '.join(f'{name}_{label}' for label in labels)}")
    return metric
