"""``rechub runs [ls | show RUN | compare RUN… | report RUN | prune]``"""

from __future__ import annotations

from typing import Annotated

import typer

from rechub_cli.cli import complete, options
from rechub_cli.cli.command import command, finish
from rechub_cli.cli.console import Console
from rechub_cli.cli.tables import show_pairs, show_table
from rechub_cli.errors import UsageError

RunFolders = Annotated[
    list[str],
    typer.Argument(metavar="RUN...", help="Two runs or more.", show_default=False, autocompletion=complete.runs),
]
Status = Annotated[
    str | None,
    typer.Option("--status", metavar="STATUS", help="Only these, such as failed,interrupted.", show_default=False),
]
Limit = Annotated[int | None, typer.Option("-n", "--limit", metavar="N", help="Only the newest N.", show_default=False)]
Keep = Annotated[int | None, typer.Option("--keep", metavar="N", help="The newest N of them stay.", show_default=False)]
OlderThan = Annotated[
    str | None,
    typer.Option(
        "--older-than", metavar="AGE", help="Only those that began so long ago: 30d, 12h.", show_default=False
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would go; remove nothing.", show_default=False)]


def runs_app() -> typer.Typer:
    app = typer.Typer(help="List, compare and remove runs.")

    @app.callback(invoke_without_command=True)
    def alone(context: typer.Context) -> None:
        if context.invoked_subcommand is None:
            raise typer.Exit(finish(ls, {}))

    command(app, "ls")(ls)
    command(app, "show")(show)
    command(app, "compare")(compare)
    command(app, "report")(report)
    command(app, "prune")(prune)
    return app


def ls(console: Console, status: Status = None, limit: Limit = None) -> None:
    """List the runs of the runs folder, newest first."""
    from rechub_cli.run.folder import Folder, runs_folder
    from rechub_cli.run.table import clock
    from rechub_cli.workflows.amounts import size_text
    from rechub_cli.workflows.listing import STATUSES, list_runs
    from rechub_cli.workflows.sources import check_counts

    check_counts(limit=limit)
    wanted = [word.strip() for word in (status or ",".join(STATUSES)).split(",")]
    for word in wanted:
        if word not in STATUSES:
            raise UsageError(f"--status {word!r}: it can be {', '.join(STATUSES)}")
    folder = Folder.scan(runs_folder())
    found = [run for run in list_runs(folder) if run.status in wanted][:limit]
    if console.output.json:
        links = {name: str(target) for name, target in folder.links.items()}
        console.document({"folder": str(folder.path), "runs": [run.to_json() for run in found], "links": links})
        return
    if not found:
        console.hint(f"no runs in {folder.path}")
        return
    rows = []
    for run in found:
        metric, seconds = run.metric, run.seconds
        rows.append(
            [
                run.name,
                run.status,
                run.model,
                "" if metric is None else metric[0],
                "" if metric is None else f"{metric[1]:.4f}",
                f"{run.started:%Y-%m-%d %H:%M}",
                "" if seconds is None else clock(seconds),
                size_text(run.size()),
                ", ".join(run.links),
            ]
        )
    heads = ["RUN", "STATUS", "MODEL", "METRIC", "BEST", "STARTED (UTC)", "TIME", "SIZE", "KNOWN AS"]
    show_table(console, heads, rows, right={"BEST", "TIME", "SIZE"})


def show(console: Console, run: options.RunFolder) -> None:
    """Show what a run is: status, data, checkpoints, metrics, files, when it was published."""
    from rechub_cli.workflows.runs import show_lines, show_run

    facts = show_run(run)
    if console.output.json:
        console.document({"run": facts})
    else:
        show_pairs(console, show_lines(facts))


def compare(console: Console, runs: RunFolders) -> None:
    """Show the metrics of runs side by side, and where their specs and data differ."""
    from rechub_cli.workflows.runs import compare_runs, value_text

    found = compare_runs(runs)
    if console.output.json:
        console.document(found)
        return
    names = found["runs"]
    rows = [["model", *(model or "" for model in found["models"])]]
    rows += [
        [name, *("" if value is None else f"{value:.6f}" for value in values)]
        for name, values in found["metrics"].items()
    ]
    rows += [[key, *map(value_text, values)] for key, values in found["spec"].items()]
    rows += [[f"{part} rows", *map(value_text, values)] for part, values in found["data"].items()]
    show_table(console, ["", *names], rows, right=set(names))


def report(console: Console, run: options.RunFolder) -> None:
    """Describe a run in Markdown, for a pull request: data, metrics, epochs."""
    from rechub_cli.workflows.runs import report_run

    text = report_run(run)
    if console.output.json:
        console.document({"run": run, "markdown": text})
    else:
        console.result(text.rstrip("\n"))


def prune(
    console: Console, keep: Keep = None, older_than: OlderThan = None, status: Status = None, dry_run: DryRun = False
) -> None:
    """Remove old runs; never one that is published, was so before, is the latest, or is in use."""
    from rechub_cli.run.events import Events
    from rechub_cli.workflows.prune import prune_runs

    done = prune_runs(Events(console), keep=keep, older_than=older_than, status=status, dry_run=dry_run)
    if console.output.json:
        console.document(done.to_json())
        return
    for run in done.removed:
        console.result(str(run["path"]))
