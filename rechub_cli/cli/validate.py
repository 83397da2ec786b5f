"""``rechub validate SPEC``"""

from __future__ import annotations

import os
from typing import Annotated

import typer

from rechub_cli.cli import options
from rechub_cli.cli.console import Console

Print = Annotated[
    bool, typer.Option("--print", help="Print the resolved spec with the origin of each value.", show_default=False)
]


def validate(
    console: Console,
    spec: options.SpecFile,
    overrides: options.Set = None,
    train: options.Train = None,
    valid: options.Valid = None,
    test: options.Test = None,
    date: options.Date = None,
    input_format: options.InputFormat = "auto",
    limit_rows: options.LimitRows = None,
    print_spec: Print = False,
) -> None:
    """Check a spec and its data before training."""
    from rechub_cli.run.events import Events
    from rechub_cli.run.signals import Stop
    from rechub_cli.workflows.dates import dated
    from rechub_cli.workflows.validate import ValidateRequest, validate

    with Stop(console.interrupted) as stop, Events(console) as events:
        outcome = validate(
            ValidateRequest(
                spec=spec,
                overrides=tuple(overrides or ()),
                train=dated(train, date),
                valid=dated(valid, date),
                test=dated(test, date),
                date=date,
                input_format=input_format,
                limit_rows=limit_rows,
                runs_dir=os.environ.get("RECHUB_RUNS_DIR") or "runs",
                print_only=print_spec,
            ),
            events,
            stop,
        )
    console.close_view()
    if console.output.json:
        console.document({"spec": outcome.resolved} if print_spec else outcome.to_json())
    elif print_spec:
        console.result(outcome.resolved.rstrip("\n"))
    else:
        for line in outcome.lines():
            console.result(line)
    outcome.raise_if_failed()
