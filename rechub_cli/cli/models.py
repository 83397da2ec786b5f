"""``rechub models [ls | show NAME | schema]``"""

from __future__ import annotations

from typing import Annotated

import typer

from rechub_cli.cli import complete
from rechub_cli.cli.command import command, finish
from rechub_cli.cli.console import Console

Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="A model, loss, metric or reader.",
        show_default=False,
        autocompletion=complete.plugins,
    ),
]
Kind = Annotated[
    str | None, typer.Option("--kind", metavar="KIND", help="models, losses, metrics or readers.", show_default=False)
]
Keys = Annotated[bool, typer.Option("--keys", help="Every key a spec for this model can have.", show_default=False)]


def models_app() -> typer.Typer:
    app = typer.Typer(help="Models, metrics and all else a spec can name.")

    @app.callback(invoke_without_command=True)
    def alone(context: typer.Context) -> None:
        if context.invoked_subcommand is None:
            raise typer.Exit(finish(list_plugins, {}))

    command(app, "ls")(list_plugins)
    command(app, "show")(show)
    command(app, "schema")(schema)
    return app


def list_plugins(console: Console, kind: Kind = None) -> None:
    """List all plugins, those of other packages too."""
    from rechub_cli.workflows.models import list_plugins

    found = list_plugins(kind)
    if console.output.json:
        console.document({"plugins": found})
        return
    widths = [max(len(row[key]) for row in found) for key in ("kind", "name")] if found else [0, 0]
    for row in found:
        console.result(f"{row['kind']:<{widths[0]}}  {row['name']:<{widths[1]}}  {row['summary']}".rstrip())


def show(console: Console, name: Name, kind: Kind = None, keys: Keys = False) -> None:
    """Show what a plugin is, and its options with their defaults."""
    from rechub_cli.workflows.models import keys_of, show_plugin

    if keys:
        found = keys_of(name)
        if console.output.json:
            console.document({"model": name, "keys": found})
            return
        width = max(len(row["key"]) for row in found)
        kinds = max(len(row["type"]) for row in found)
        for row in found:
            console.result(f"{row['key']:<{width}}  {row['type']:<{kinds}}  {row['default']}".rstrip())
        return
    plugin = show_plugin(name, kind)
    if console.output.json:
        console.document({"plugin": plugin})
        return
    console.result(f"{plugin['name']}: {plugin['summary']}")
    if plugin["doc"]:
        console.result("\n" + plugin["doc"])
    if plugin["options"]:
        console.result("\noptions (model.params.*)" if plugin["kind"] == "models" else "\noptions")
        width = max(len(option["name"]) for option in plugin["options"])
        for option in plugin["options"]:
            console.result(f"  {option['name']:<{width}}  {option['type']} = {option['default']}")
    console.result(f"\nfrom {plugin['source']}")


def schema(console: Console) -> None:
    """Print the JSON Schema of a spec, for editors."""
    import json

    from rechub_cli.workflows.models import spec_schema

    console.result(json.dumps(spec_schema(), indent=2))
