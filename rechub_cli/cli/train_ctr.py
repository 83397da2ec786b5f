"""``rechub train-ctr SPEC``"""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from rechub_cli.cli import options
from rechub_cli.cli.console import Console

OutputFolder = Annotated[
    str | None,
    typer.Option(
        "-o",
        "--output",
        metavar="DIR",
        help="The run directory; by default a new one in $RECHUB_RUNS_DIR or runs/.",
        show_default=False,
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Check everything up to the first batch; write nothing.", show_default=False)
]


def train_ctr(
    console: Console,
    spec: options.SpecFile,
    output: OutputFolder = None,
    overrides: options.Set = None,
    epochs: options.Epochs = None,
    batch_size: options.BatchSize = None,
    lr: options.LearningRate = None,
    seed: options.Seed = None,
    train: options.Train = None,
    valid: options.Valid = None,
    test: options.Test = None,
    date: options.Date = None,
    input_format: options.InputFormat = "auto",
    limit_rows: options.LimitRows = None,
    device: options.Device = None,
    threads: options.Threads = None,
    dry_run: DryRun = False,
    overwrite: options.Overwrite = False,
    wait: options.Wait = 0,
) -> None:
    """Train a CTR model; print its run directory."""
    from rechub_cli.run.events import Events
    from rechub_cli.run.signals import Stop
    from rechub_cli.workflows.dates import dated
    from rechub_cli.workflows.request import TrainRequest
    from rechub_cli.workflows.train import train_ctr

    with Stop(console.interrupted) as stop:
        outcome = train_ctr(
            TrainRequest(
                spec=spec,
                overrides=tuple(overrides or ()),
                output=dated(output, date),
                runs_dir=os.environ.get("RECHUB_RUNS_DIR") or "runs",
                epochs=epochs,
                batch_size=batch_size,
                lr=lr,
                seed=seed,
                train=dated(train, date),
                valid=dated(valid, date),
                test=dated(test, date),
                input_format=input_format,
                limit_rows=limit_rows,
                device=device,
                default_device=os.environ.get("RECHUB_DEVICE") or None,
                threads=threads,
                dry_run=dry_run,
                overwrite=overwrite,
                wait=wait,
                argv=tuple(sys.argv),
            ),
            Events(console),
            stop,
        )
    console.close_view()
    if console.output.json:
        console.document(outcome.to_json())
    elif outcome.run is not None:
        console.hint(f"next      rechub evaluate {outcome.run} --data FILE")
        console.result(str(outcome.run))
