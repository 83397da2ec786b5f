"""``rechub recommend RUN``"""

from __future__ import annotations

import os
from typing import Annotated

import typer

from rechub_cli.cli import options
from rechub_cli.cli.console import Console
from rechub_cli.cli.predict import NoHeader, OutputFormat
from rechub_cli.errors import UsageError

Users = Annotated[
    str | None,
    typer.Option("--users", metavar="PATH|-", help="The users: a file, or - for standard input.", show_default=False),
]
K = Annotated[int, typer.Option("-k", "--k", metavar="N", help="Items for each user.")]
Output = Annotated[
    str | None,
    typer.Option(
        "-o", "--output", metavar="FILE|-", help="Where the rows go; - is standard output.", show_default=False
    ),
]
Items = Annotated[
    str | None,
    typer.Option("--items", metavar="PATH", help="Today's items instead of the run's catalogue.", show_default=False),
]
Embeddings = Annotated[
    str | None,
    typer.Option("--embeddings", metavar="FILE", help="Items' vectors, written by rechub embed.", show_default=False),
]
Index = Annotated[
    str | None,
    typer.Option("--index", metavar="FILE", help="A .faiss index, written by rechub embed.", show_default=False),
]
ExcludeSeen = Annotated[
    bool, typer.Option("--exclude-seen", help="Leave out what each user already had.", show_default=False)
]


def recommend(
    console: Console,
    run: options.RunFolder,
    users: Users = None,
    k: K = 50,
    output: Output = None,
    items: Items = None,
    embeddings: Embeddings = None,
    index: Index = None,
    exclude_seen: ExcludeSeen = False,
    history: options.History = None,
    date: options.Date = None,
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
    overwrite: options.Overwrite = False,
) -> None:
    """Write the best items of each user: rows of user, rank, item and score."""
    from rechub_cli.run.events import Events
    from rechub_cli.run.signals import Stop
    from rechub_cli.workflows.dates import dated
    from rechub_cli.workflows.drift import allowed_of
    from rechub_cli.workflows.recommend import RecommendRequest, recommend

    if output == "-" and console.output.json:
        raise UsageError("--json and --output - both want standard output; leave one out")
    with Stop(console.interrupted) as stop, Events(console) as events:
        outcome = recommend(
            RecommendRequest(
                run=run,
                users=dated(users, date),
                output=dated(output, date, one=True),
                k=k,
                items=dated(items, date),
                embeddings=dated(embeddings, date),
                index=dated(index, date),
                exclude_seen=exclude_seen,
                history=tuple(str(dated(path, date)) for path in history or ()),
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
            ),
            events,
            stop,
            stdout=console.stdout if output == "-" else None,
        )
    console.close_view()
    if output == "-":
        return
    if console.output.json:
        console.document(outcome.to_json())
    else:
        console.result(str(outcome.output))
