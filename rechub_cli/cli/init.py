"""``rechub init DATA``"""

from __future__ import annotations

from typing import Annotated

import typer

from rechub_cli.cli.console import Console
from rechub_cli.errors import CannotCreate, UsageError

Data = Annotated[
    str, typer.Argument(metavar="DATA", help="A file, a folder or a glob of log rows.", show_default=False)
]
Task = Annotated[str, typer.Option("--task", metavar="TASK", help="ctr.")]
SpecFile = Annotated[
    str | None,
    typer.Option(
        "-o", "--output", metavar="FILE|-", help="Where the spec goes; by default standard output.", show_default=False
    ),
]


def init(console: Console, data: Data, task: Task = "ctr", output: SpecFile = None, overwrite: bool = False) -> None:
    """Write a commented spec from the data's columns, ready to train."""
    from pathlib import Path

    from rechub_cli.files import write_text
    from rechub_cli.workflows.init import run

    if task != "ctr":
        raise UsageError(f"--task is {task!r}; it can be ctr")
    if output and output != "-" and Path(output).exists() and not overwrite:
        raise CannotCreate(f"{output} exists; use --overwrite or another -o")
    text = run([data], task=task)
    if output is None or output == "-":
        console.result(text.rstrip("\n"))
    else:
        write_text(output, text)
        console.result(output)
