"""``rechub init DATA``"""

from __future__ import annotations

from typing import Annotated

import typer

from rechub_cli.cli import options
from rechub_cli.cli.console import Console
from rechub_cli.errors import CannotCreate, UsageError

Data = Annotated[
    str, typer.Argument(metavar="DATA", help="A file, a folder or a glob of log rows.", show_default=False)
]
Task = Annotated[str, typer.Option("--task", metavar="TASK", help="ctr, mtl for several labels, match for retrieval.")]
Label = Annotated[
    str | None,
    typer.Option(
        "--label",
        metavar="COLUMN",
        help="What to predict, by default what looks like it; a,b for several.",
        show_default=False,
    ),
]
SpecFile = Annotated[
    str | None,
    typer.Option(
        "-o", "--output", metavar="FILE|-", help="Where the spec goes; by default standard output.", show_default=False
    ),
]


def init(
    console: Console,
    data: Data,
    task: Task = "ctr",
    label: Label = None,
    output: SpecFile = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Write a commented spec from the data's columns, ready to train."""
    from pathlib import Path

    from rechub_cli.files import write_text
    from rechub_cli.run.signals import Stop
    from rechub_cli.workflows.init import run

    if task not in ("ctr", "mtl", "match"):
        raise UsageError(f"--task is {task!r}; it can be ctr, mtl for several labels, or match for retrieval")
    file = None if output == "-" else output
    if file and Path(file).exists() and not overwrite:
        raise CannotCreate(f"{file} exists; use --overwrite or another -o")
    with Stop(at_once=True):
        text = run([data], task=task, label=label, base=Path(file).parent if file else None)
        if file:
            write_text(file, text)
    if console.output.json:
        console.document({"output": file, "spec": text})
    elif file:
        console.result(file)
    else:
        console.result(text.rstrip("\n"))
