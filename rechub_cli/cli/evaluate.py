"""``rechub evaluate RUN``"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rechub_cli.cli import complete, options
from rechub_cli.cli.console import Console
from rechub_cli.cli.tables import show_pairs, show_table

if TYPE_CHECKING:
    from rechub_cli.workflows.evaluate import EvaluateOutcome
    from rechub_cli.workflows.segments import Segments

Metrics = Annotated[
    list[str] | None,
    typer.Option(
        "--metric",
        metavar="NAME",
        help="A metric besides the run's own; repeat.",
        show_default=False,
        autocompletion=complete.metrics,
    ),
]
Require = Annotated[
    list[str] | None,
    typer.Option(
        "--require",
        metavar="CONDITION",
        help="Exit 3 unless it holds: 'auc >= 0.75', 'logloss <= against.logloss*1.002'; repeat.",
        show_default=False,
    ),
]
FailIf = Annotated[
    list[str] | None,
    typer.Option("--fail-if", metavar="CONDITION", help="Exit 3 if it holds: 'auc < 0.7'; repeat.", show_default=False),
]

ExcludeSeen = Annotated[
    bool,
    typer.Option(
        "--exclude-seen", help="Retrieval: rank without what each user had in train and valid.", show_default=False
    ),
]
Candidates = Annotated[
    str | None,
    typer.Option(
        "--candidates",
        metavar="WHICH",
        help="Retrieval: all (exact), uniform:N or popularity:N sampled ones; named apart.",
        show_default=False,
    ),
]

Against = Annotated[
    str | None,
    typer.Option(
        "--against",
        metavar="RUN",
        help="Another run, such as the published one, measured on the same rows.",
        show_default=False,
        autocompletion=complete.runs,
    ),
]
By = Annotated[
    str | None,
    typer.Option("--by", metavar="COLUMN", help="The metrics of each value of a column, too.", show_default=False),
]
IntervalLevel = Annotated[
    float | None,
    typer.Option("--intervals", metavar="LEVEL", help="Bootstrap intervals of this level: 0.95.", show_default=False),
]
Bootstrap = Annotated[int, typer.Option("--bootstrap", metavar="N", help="Draws of the intervals.")]


def evaluate(
    console: Console,
    run: options.RunFolder,
    data: options.Data = None,
    metric: Metrics = None,
    require: Require = None,
    fail_if: FailIf = None,
    against: Against = None,
    by: By = None,
    intervals: IntervalLevel = None,
    bootstrap: Bootstrap = 200,
    date: options.Date = None,
    history: options.History = None,
    exclude_seen: ExcludeSeen = False,
    candidates: Candidates = None,
    input_format: options.InputFormat = "auto",
    limit_rows: options.LimitRows = None,
    batch_size: options.BatchSize = None,
    device: options.Device = None,
    threads: options.Threads = None,
    plugin: options.Plugin = False,
    allow_drift: options.AllowDrift = False,
    allow_drift_of: options.AllowDriftOf = None,
    prometheus: options.PrometheusFile = None,
) -> None:
    """Compute a trained model's metrics on labelled data."""
    from rechub_cli.run.events import Events
    from rechub_cli.run.prometheus import check_target, write
    from rechub_cli.run.signals import Stop
    from rechub_cli.workflows.dates import dated
    from rechub_cli.workflows.drift import allowed_of
    from rechub_cli.workflows.evaluate import EvaluateRequest, evaluate
    from rechub_cli.workflows.gauges import of_evaluation

    check_target(prometheus)
    with Stop(console.interrupted) as stop, Events(console) as events:
        outcome = evaluate(
            EvaluateRequest(
                run=run,
                data=dated(data, date),
                history=tuple(str(dated(path, date)) for path in history or ()),
                metrics=tuple(metric or ()),
                require=tuple(require or ()),
                fail_if=tuple(fail_if or ()),
                exclude_seen=exclude_seen,
                candidates=candidates,
                against=dated(against, date),
                by=by,
                intervals=intervals,
                bootstrap=bootstrap,
                input_format=input_format,
                limit_rows=limit_rows,
                batch_size=batch_size,
                device=device or os.environ.get("RECHUB_DEVICE") or None,
                threads=threads,
                plugin=plugin,
                allowed=allowed_of(allow_drift, allow_drift_of),
            ),
            events,
            stop,
        )
    if prometheus:
        write(prometheus, of_evaluation(run, outcome))
    console.close_view()
    if console.output.json:
        console.document(outcome.to_json())
    else:
        show_metrics(console, outcome)
    outcome.raise_if_failed()


def show_metrics(console: Console, outcome: EvaluateOutcome) -> None:
    """A line a metric; with the other run, the intervals and the segments where they were asked for."""
    against, found = outcome.against, outcome.intervals
    if against is None and found is None:
        show_pairs(console, [(name, f"{value:.6f}") for name, value in outcome.metrics.items()])
    else:
        heads, columns = ["metric", outcome.run], [list(outcome.metrics), list(map(number, outcome.metrics.values()))]
        level = "" if found is None else f"{100 * found.level:g}%"

        def beside(head: str, values: Mapping[str, Any] | None, show: Callable[[Any], str]) -> None:
            if values is not None:
                heads.append(head)
                columns.append([show(values[name]) if name in values else "" for name in outcome.metrics])

        if found is not None:
            beside(level, found.metrics, interval)
        if against is not None:
            beside(f"against {against.run}", against.metrics, number)
        if found is not None:
            beside(f"{level} ", found.against, interval)
            beside(f"difference {level}", found.difference, interval)
        show_table(console, heads, list(zip(*columns, strict=True)), right=set(heads[1:]))
    if outcome.segments is not None:
        console.result("")
        show_segments(console, outcome.segments)


def show_segments(console: Console, segments: Segments) -> None:
    names = list(dict.fromkeys(name for segment in segments.largest for name in segment.metrics))
    beside = [f"against.{name}" for name in names] if any(segment.against for segment in segments.largest) else []
    rows = []
    for segment in segments.largest:
        values = segment.metrics | {f"against.{name}": value for name, value in (segment.against or {}).items()}
        shown = [number(values.get(name, math.nan)) for name in (*names, *beside)]
        rows.append(["(null)" if segment.value is None else str(segment.value), f"{segment.rows:,}", *shown])
    heads = [segments.by, "rows", *names, *beside]
    show_table(console, heads, rows, right=set(heads[1:]))
    if segments.more:
        console.result(f"and {segments.more:,} more values of {segments.by}, {segments.more_rows:,} rows")


def number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.6f}"


def interval(bounds: tuple[float, float]) -> str:
    return f"{number(bounds[0])}..{number(bounds[1])}"
