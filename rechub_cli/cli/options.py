"""The flags that several commands share, spelled once.

Paths are plain text and checked by the workflows, whose messages are ours. Metavars are given, because
their default differs between versions of Typer.
"""

from __future__ import annotations

from typing import Annotated

import typer

from rechub_cli.cli import complete

_OUTPUT = "Output"
_DATA = "Data"
_SPEC = "Spec overrides"

# Drift, on every command that uses a run
AllowDrift = Annotated[
    bool,
    typer.Option(
        "--allow-drift",
        help="Go on where a column is empty now, or its ids are unseen.",
        show_default=False,
        rich_help_panel=_DATA,
    ),
]
AllowDriftOf = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-drift-of",
        metavar="COLUMNS",
        help="The same for some columns: a,b; repeat.",
        show_default=False,
        rich_help_panel=_DATA,
    ),
]

PrometheusFile = Annotated[
    str | None,
    typer.Option(
        "--prometheus",
        metavar="FILE",
        help="Write the numbers as a Prometheus text file, too.",
        show_default=False,
        rich_help_panel=_OUTPUT,
    ),
]

# Output, on every command
Json = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.", rich_help_panel=_OUTPUT)]
Quiet = Annotated[
    int,
    typer.Option(
        "-q",
        "--quiet",
        count=True,
        show_default=False,
        help="Nothing on standard error on success; -qq: nothing at all.",
        rich_help_panel=_OUTPUT,
    ),
]
Verbose = Annotated[
    int,
    typer.Option(
        "-v", "--verbose", count=True, show_default=False, help="More detail; -vv: tracebacks.", rich_help_panel=_OUTPUT
    ),
]
LogFormat = Annotated[
    str,
    typer.Option(
        "--log-format",
        metavar="FORMAT",
        envvar="RECHUB_LOG_FORMAT",
        show_envvar=False,
        show_default=False,
        help="auto, text or json (one event a line).",
        rich_help_panel=_OUTPUT,
    ),
]
LogFile = Annotated[
    str | None, typer.Option("--log-file", metavar="FILE", help="Append the log to FILE.", rich_help_panel=_OUTPUT)
]
Progress = Annotated[
    str,
    typer.Option(
        "--progress",
        metavar="WHEN",
        envvar="RECHUB_PROGRESS",
        show_envvar=False,
        show_default=False,
        help="auto, on or off.",
        rich_help_panel=_OUTPUT,
    ),
]
Color = Annotated[
    str,
    typer.Option("--color", metavar="WHEN", show_default=False, help="auto, always or never.", rich_help_panel=_OUTPUT),
]

# Arguments
SpecFile = Annotated[str, typer.Argument(metavar="SPEC", help="The spec: a YAML file.", show_default=False)]
RunFolder = Annotated[
    str,
    typer.Argument(
        metavar="RUN",
        help="A run directory, made by train-ctr, train-match or train-mtl.",
        show_default=False,
        autocompletion=complete.runs,
    ),
]

# Spec overrides
Set = Annotated[
    list[str] | None,
    typer.Option(
        "-s",
        "--set",
        metavar="KEY=VALUE",
        help="Override a value of the spec; repeat.",
        autocompletion=complete.keys,
        rich_help_panel=_SPEC,
    ),
]
Train = Annotated[
    str | None, typer.Option("--train", metavar="PATH", help="Replaces data.train.", rich_help_panel=_SPEC)
]
Valid = Annotated[
    str | None, typer.Option("--valid", metavar="PATH", help="Replaces data.valid.", rich_help_panel=_SPEC)
]
Test = Annotated[str | None, typer.Option("--test", metavar="PATH", help="Replaces data.test.", rich_help_panel=_SPEC)]
Items = Annotated[
    str | None, typer.Option("--items", metavar="PATH", help="Replaces data.items.", rich_help_panel=_SPEC)
]
Epochs = Annotated[int | None, typer.Option("--epochs", metavar="N", help="trainer.n_epoch", rich_help_panel=_SPEC)]
BatchSize = Annotated[
    int | None, typer.Option("--batch-size", metavar="N", help="Rows of a batch.", rich_help_panel=_SPEC)
]
LearningRate = Annotated[
    float | None, typer.Option("--lr", metavar="X", help="trainer.optimizer_params.lr", rich_help_panel=_SPEC)
]
Seed = Annotated[int | None, typer.Option("--seed", metavar="N", help="trainer.seed", rich_help_panel=_SPEC)]
LimitRows = Annotated[
    int | None,
    typer.Option("--limit-rows", metavar="N", help="Only the first N rows of each file set.", rich_help_panel=_DATA),
]

# Data
Data = Annotated[
    str | None,
    typer.Option(
        "-d",
        "--data",
        metavar="PATH|-",
        help="A file, a folder, a glob, or - for standard input.",
        rich_help_panel=_DATA,
    ),
]
Date = Annotated[
    str | None,
    typer.Option(
        "--date",
        metavar="YYYY-MM-DD",
        help="What {date}, {date-1}, {date-14..date-2} in paths mean; today (UTC) by default.",
        show_default=False,
        rich_help_panel=_DATA,
    ),
]
History = Annotated[
    list[str] | None,
    typer.Option(
        "--history",
        metavar="PATH",
        help="Events newer than those that the run kept; repeat.",
        show_default=False,
        rich_help_panel=_DATA,
    ),
]
InputFormat = Annotated[
    str,
    typer.Option(
        "--input-format",
        metavar="FORMAT",
        show_default=False,
        help="auto, csv, tsv, jsonl, parquet or arrow.",
        rich_help_panel=_DATA,
    ),
]

# Machine
Device = Annotated[
    str | None, typer.Option("--device", metavar="DEVICE", help="auto, cpu, cuda, cuda:N or mps.", show_default=False)
]
Threads = Annotated[int | None, typer.Option("--threads", metavar="N", help="CPU threads to use.", show_default=False)]
Plugin = Annotated[
    bool, typer.Option("--plugin", help="Allow the run's own plugin code to be imported.", show_default=False)
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an output that exists.", show_default=False)]
Wait = Annotated[
    float, typer.Option("--wait", metavar="SECONDS", help="Wait for a run that is in use.", show_default=False)
]
