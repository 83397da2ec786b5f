"""What TAB offers; nothing heavy is imported, and a fault offers nothing."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import typer

from rechub_cli.errors import RechubError
from rechub_cli.run.folder import LATEST, Folder, runs_folder


def quietly(offer: Callable[[typer.Context], Iterable[str]]) -> Callable[[typer.Context, str], list[str]]:
    """The offers that begin with what is typed already."""

    def complete(ctx: typer.Context, incomplete: str) -> list[str]:
        with contextlib.suppress(RechubError, OSError):
            return [word for word in offer(ctx) if word.startswith(incomplete)]
        return []

    return complete


@quietly
def runs(ctx: typer.Context) -> list[str]:
    """Published names, then run directories: in the runs folder, newest first, and here."""
    folder = Folder.scan(runs_folder())
    here = [str(record.parent) for record in sorted(Path().glob("*/run.json"))]
    return [*folder.links, *(str(run) for run in sorted(folder.runs, reverse=True)), *here]


@quietly
def published(ctx: typer.Context) -> list[str]:
    return [name for name in Folder.scan(runs_folder()).links if not name.endswith(LATEST)]


@quietly
def plugins(ctx: typer.Context) -> list[str]:
    from rechub_cli.plugins import KINDS, names

    return [name for kind in KINDS for name in names(kind)]


@quietly
def metrics(ctx: typer.Context) -> list[str]:
    from rechub_cli.plugins import names

    return names("metrics")


@quietly
def keys(ctx: typer.Context) -> list[str]:
    """``KEY=`` for --set, with the options of the spec's model."""
    from rechub_cli.spec.read import read_spec
    from rechub_cli.spec.render import keys

    typed = os.environ.get("COMP_WORDS") or os.environ.get("_TYPER_COMPLETE_ARGS", "")
    model = None
    for word in typed.split():  # an unfinished command line is not parsed to its end
        if word.endswith((".yaml", ".yml")):
            with contextlib.suppress(RechubError):
                model = read_spec(word).spec.model.name
    return [f"{row['key']}=" for row in keys(model) if "<" not in row["key"]]
