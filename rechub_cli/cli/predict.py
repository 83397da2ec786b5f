"""``rechub predict RUN``"""

from __future__ import annotations

import os
from typing import Annotated

import typer

from rechub_cli.cli import options
from rechub_cli.cli.console import Console
from rechub_cli.errors import UsageError

OutputFile = Annotated[
    str | None,
    typer.Option(
        "-o", "--output", metavar="FILE|-", help="Where the scores go; - is standard output.", show_default=False
    ),
]
OutputFormat = Annotated[
    str | None,
    typer.Option(
        "--output-format",
        metavar="FORMAT",
        help="csv, jsonl, parquet or arrow; by default from FILE's name.",
        show_default=False,
    ),
]
Keep = Annotated[
    list[str] | None,
    typer.Option(
        "--keep", metavar="COLUMNS", help="Columns of the data to carry along: a,b; repeat.", show_default=False
    ),
]
Gates = Annotated[bool, typer.Option("--gates", help="Write how each task mixes the experts, too.", show_default=False)]
NoHeader = Annotated[bool, typer.Option("--no-header", help="CSV without its first line.", show_default=False)]


def predict(
    console: Console,
    run: options.RunFolder,
    data: options.Data = None,
    output: OutputFile = None,
    keep: Keep = None,
    date: options.Date = None,
    history: options.History = None,
    input_format: options.InputFormat = "auto",
    output_format: OutputFormat = None,
    no_header: NoHeader = False,
    limit_rows: options.LimitRows = None,
    batch_size: options.BatchSize = None,
    device: options.Device = None,
    threads: options.Threads = None,
    plugin: options.Plugin = False,
    allow_drift: options.AllowDrift = False,
    allow_drift_of: options.AllowDriftOf = None,
    prometheus: options.PrometheusFile = None,
    overwrite: options.Overwrite = False,
    gates: Gates = False,
) -> None:
    """Score raw rows with a trained model, in their order."""
    from rechub_cli.run.events import Events
    from rechub_cli.run.prometheus import check_target, write
    from rechub_cli.run.signals import Stop
    from rechub_cli.workflows.dates import dated
    from rechub_cli.workflows.drift import allowed_of
    from rechub_cli.workflows.gauges import of_prediction
    from rechub_cli.workflows.predict import PredictRequest, predict

    if output == "-" and console.output.json:
        raise UsageError("--json and --output - both want standard output; leave one out")
    check_target(prometheus)
    with Stop(console.interrupted) as stop, Events(console) as events:
        outcome = predict(
            PredictRequest(
                run=run,
                data=dated(data, date),
                history=tuple(str(dated(path, date)) for path in history or ()),
                output=dated(output, date, one=True),
                keep=tuple(
                    dict.fromkeys(name.strip() for one in keep or () for name in one.split(",") if name.strip())
                ),
                input_format=input_format,
                output_format=output_format,
                header=not no_header,
                limit_rows=limit_rows,
                batch_size=batch_size,
                device=device or os.environ.get("RECHUB_DEVICE") or None,
                threads=threads,
                plugin=plugin,
                allowed=allowed_of(allow_drift, allow_drift_of),
                overwrite=overwrite,
                gates=gates,
            ),
            events,
            stop,
            stdout=console.stdout if output == "-" else None,
        )
    if prometheus:
        write(prometheus, of_prediction(run, outcome))
    console.close_view()
    if output == "-":
        return
    if console.output.json:
        console.document(outcome.to_json())
    else:
        console.result(str(outcome.output))
