"""``rechub cache [ls | prune]``"""

from __future__ import annotations

from typing import Annotated

import typer

from rechub_cli.cli.command import command, finish
from rechub_cli.cli.console import Console
from rechub_cli.cli.tables import show_table

OlderThan = Annotated[
    str | None,
    typer.Option("--older-than", metavar="AGE", help="Those not used for so long: 30d, 12h.", show_default=False),
]
MaxSize = Annotated[
    str | None,
    typer.Option("--max-size", metavar="SIZE", help="Those used longest ago, down to 20GB in all.", show_default=False),
]
All = Annotated[bool, typer.Option("--all", help="All that nobody uses now.", show_default=False)]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would go; remove nothing.", show_default=False)]


def cache_app() -> typer.Typer:
    app = typer.Typer(help="List and remove the encoded rows that trainings keep beside the runs.")

    @app.callback(invoke_without_command=True)
    def alone(context: typer.Context) -> None:
        if context.invoked_subcommand is None:
            raise typer.Exit(finish(ls, {}))

    command(app, "ls")(ls)
    command(app, "prune")(prune)
    return app


def ls(console: Console) -> None:
    """List the caches of encoded rows, the one last used first."""
    import time

    from rechub_cli.workflows.amounts import age_text, size_text
    from rechub_cli.workflows.cache import list_caches

    found = list_caches()
    if console.output.json:
        console.document({"caches": [one.to_json() for one in found], "bytes": sum(one.bytes for one in found)})
        return
    if not found:
        console.hint("no caches")
        return
    rows = [
        [
            str(one.path),
            "unfinished" if one.rows is None else f"{one.rows:,}",
            size_text(one.bytes),
            "in use" if one.in_use else age_text(time.time() - one.used),
            one.data[0] + (f" (and {len(one.data) - 1} more)" if len(one.data) > 1 else "") if one.data else "",
        ]
        for one in found
    ]
    show_table(console, ["CACHE", "ROWS", "SIZE", "USED", "DATA"], rows, right={"ROWS", "SIZE", "USED"})


def prune(
    console: Console, older_than: OlderThan = None, max_size: MaxSize = None, all: All = False, dry_run: DryRun = False
) -> None:
    """Remove caches that nobody uses; a training that needs one builds it anew."""
    from rechub_cli.run.events import Events
    from rechub_cli.workflows.cache import prune_caches

    removed = prune_caches(Events(console), older_than=older_than, max_size=max_size, everything=all, dry_run=dry_run)
    if console.output.json:
        document = {"removed": [one.to_json() for one in removed], "dry_run": dry_run}
        console.document({**document, "bytes": sum(one.bytes for one in removed)})
        return
    for one in removed:
        console.result(str(one.path))
