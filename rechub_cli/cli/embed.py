"""``rechub embed RUN``"""

from __future__ import annotations

import os
from typing import Annotated

import typer

from rechub_cli.cli import options
from rechub_cli.cli.console import Console
from rechub_cli.cli.predict import NoHeader
from rechub_cli.errors import UsageError

Mode = Annotated[
    str | None, typer.Option("--mode", metavar="user|item", help="Whose vectors to write.", show_default=False)
]
Output = Annotated[
    str | None,
    typer.Option(
        "-o",
        "--output",
        metavar="FILE|-",
        help="Where the vectors go: a table, .npy and its ids, or a .faiss index.",
        show_default=False,
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
ShardRows = Annotated[
    int | None,
    typer.Option("--shard-rows", metavar="N", help="Write a folder of files with N rows each.", show_default=False),
]
IndexType = Annotated[
    str | None,
    typer.Option(
        "--index-type",
        metavar="TYPE",
        help="Of a .faiss index: flat (exact), hnsw, or a factory string of FAISS.",
        show_default=False,
    ),
]


def embed(
    console: Console,
    run: options.RunFolder,
    mode: Mode = None,
    data: options.Data = None,
    output: Output = None,
    history: options.History = None,
    date: options.Date = None,
    input_format: options.InputFormat = "auto",
    output_format: OutputFormat = None,
    no_header: NoHeader = False,
    shard_rows: ShardRows = None,
    index_type: IndexType = None,
    limit_rows: options.LimitRows = None,
    batch_size: options.BatchSize = None,
    device: options.Device = None,
    threads: options.Threads = None,
    plugin: options.Plugin = False,
    allow_drift: options.AllowDrift = False,
    allow_drift_of: options.AllowDriftOf = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Write the vectors of a retrieval model's users or items, under their own ids."""
    from rechub_cli.run.events import Events
    from rechub_cli.run.signals import Stop
    from rechub_cli.workflows.dates import dated
    from rechub_cli.workflows.drift import allowed_of
    from rechub_cli.workflows.embed import EmbedRequest, embed

    if output == "-" and console.output.json:
        raise UsageError("--json and --output - both want standard output; leave one out")
    with Stop(console.interrupted) as stop, Events(console) as events:
        outcome = embed(
            EmbedRequest(
                run=run,
                mode=mode,
                data=dated(data, date),
                output=dated(output, date, one=True),
                history=tuple(str(dated(path, date)) for path in history or ()),
                input_format=input_format,
                output_format=output_format,
                header=not no_header,
                shard_rows=shard_rows,
                index_type=index_type,
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
