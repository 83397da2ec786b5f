"""``rechub publish RUN --as NAME``"""

from __future__ import annotations

from typing import Annotated

import typer

from rechub_cli.cli import complete
from rechub_cli.cli.console import Console

RunFolder = Annotated[
    str | None,
    typer.Argument(metavar="[RUN]", help="The run to serve from.", show_default=False, autocompletion=complete.runs),
]
As = Annotated[
    str | None,
    typer.Option(
        "--as",
        metavar="NAME",
        help="The name to publish under, such as ctr/prod.",
        show_default=False,
        autocompletion=complete.published,
    ),
]
Rollback = Annotated[
    bool, typer.Option("--rollback", help="Go back to the run that was published before.", show_default=False)
]


def publish(console: Console, run: RunFolder = None, name: As = None, rollback: Rollback = False) -> None:
    """Make a name lead to a run, atomically: evaluate, predict, embed and recommend take the name for RUN."""
    from rechub_cli.run.events import Events
    from rechub_cli.workflows.publish import publish

    done = publish(run, name, Events(console), rollback=rollback)
    if console.output.json:
        console.document(done.to_json())
    else:
        console.result(str(done.link))
