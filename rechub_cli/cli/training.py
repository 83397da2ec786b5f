"""What the commands that train have in common: their flags, and how they end."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Callable, Mapping
from typing import Annotated, Any

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
InitFrom = Annotated[
    str | None,
    typer.Option(
        "--init-from",
        metavar="RUN",
        help="Start from this run's best weights and vocabularies, which grow with today's new ids.",
        show_default=False,
    ),
]
AllowFresh = Annotated[
    bool,
    typer.Option(
        "--allow-fresh", help="With --init-from: what RUN has no weights for starts fresh.", show_default=False
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Check everything up to the first batch; write nothing.", show_default=False)
]
Resume = Annotated[
    str,
    typer.Option(
        "--resume",
        metavar="never|auto|must",
        help="auto: go on with the run at -o, or start it; must: only go on.",
        show_default=False,
    ),
]
AllowNewData = Annotated[
    bool, typer.Option("--allow-new-data", help="Go on though the data has changed.", show_default=False)
]

Profile = Annotated[
    str | None,
    typer.Option(
        "--profile",
        metavar="FILE",
        help="Trace 20 steps into FILE (Chrome JSON), and tell where their time goes.",
        show_default=False,
    ),
]
# flag -> (annotation, default), in the order of the help text
FLAGS: Mapping[str, tuple[Any, Any]] = {
    "spec": (options.SpecFile, inspect.Parameter.empty),
    "output": (OutputFolder, None),
    "overrides": (options.Set, None),
    "epochs": (options.Epochs, None),
    "batch_size": (options.BatchSize, None),
    "lr": (options.LearningRate, None),
    "seed": (options.Seed, None),
    "train": (options.Train, None),
    "valid": (options.Valid, None),
    "test": (options.Test, None),
    "date": (options.Date, None),
    "init_from": (InitFrom, None),
    "allow_fresh": (AllowFresh, False),
    "input_format": (options.InputFormat, "auto"),
    "limit_rows": (options.LimitRows, None),
    "device": (options.Device, None),
    "threads": (options.Threads, None),
    "dry_run": (DryRun, False),
    "resume": (Resume, "never"),
    "allow_new_data": (AllowNewData, False),
    "profile": (Profile, None),
    "overwrite": (options.Overwrite, False),
    "wait": (options.Wait, 0),
    "prometheus": (options.PrometheusFile, None),
}
DATED = ("train", "valid", "test", "items")  # paths that may hold {date}, and several days


def train_command(
    workflow: str, summary: str, *, more: Mapping[str, tuple[Any, Any]] | None = None, next_step: str
) -> Callable[..., None]:
    """A command that trains.

    Args:
        workflow: ``module:function`` of the story that it tells.
        summary: the command's help text.
        more: flags besides the common ones.
        next_step: what to do with the run, which ``{run}`` stands for.
    """
    flags = {**FLAGS, **(more or {})}

    def run(console: Console, **given: Any) -> None:
        from rechub_cli.run.events import Events
        from rechub_cli.run.prometheus import check_target, write
        from rechub_cli.run.safe_text import redacted_data
        from rechub_cli.run.signals import Stop
        from rechub_cli.workflows.dates import dated
        from rechub_cli.workflows.gauges import of_training
        from rechub_cli.workflows.request import TrainRequest

        module, _, function = workflow.partition(":")
        prometheus = given.pop("prometheus")
        check_target(prometheus)
        given |= {name: dated(given[name], given["date"]) for name in DATED if name in given}
        given |= {name: dated(given[name], given["date"], one=True) for name in ("output", "init_from")}
        request = TrainRequest(
            **{**given, "overrides": tuple(given["overrides"] or ())},
            runs_dir=os.environ.get("RECHUB_RUNS_DIR") or "runs",
            default_device=os.environ.get("RECHUB_DEVICE") or None,
            argv=tuple(redacted_data(sys.argv)),
        )
        with Stop(console.interrupted) as stop, Events(console) as events:
            outcome = getattr(importlib.import_module(module), function)(request, events, stop)
        if prometheus and outcome.run is not None:
            write(prometheus, of_training(outcome))
        console.close_view()
        if console.output.json:
            console.document(outcome.to_json())
        elif outcome.run is not None:
            console.hint(f"next      {next_step.format(run=outcome.run)}")
            console.result(str(outcome.run))

    first = inspect.Parameter("console", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=Console)
    parameters = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for name, (annotation, default) in flags.items()
    ]
    run.__signature__ = inspect.Signature([first, *parameters])  # type: ignore[attr-defined]
    run.__doc__ = summary
    return run
