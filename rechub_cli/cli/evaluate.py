"""``rechub evaluate RUN``"""

from __future__ import annotations

import os
from typing import Annotated

import typer

from rechub_cli.cli import complete, options
from rechub_cli.cli.console import Console

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
        help="Exit 3 unless it holds: 'auc >= 0.75', 'calibration in 0.95..1.05'; repeat.",
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


def evaluate(
    console: Console,
    run: options.RunFolder,
    data: options.Data = None,
    metric: Metrics = None,
    require: Require = None,
    fail_if: FailIf = None,
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
        width = max(map(len, outcome.metrics), default=0)
        for name, value in outcome.metrics.items():
            console.result(f"{name:<{width}}  {value:.6f}")
    outcome.raise_if_failed()
