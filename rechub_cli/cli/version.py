"""``rechub version``"""

from __future__ import annotations

from rechub_cli.cli.console import Console


def version(console: Console) -> None:
    """Show the version of rechub and of what it stands on."""
    from rechub_cli.workflows.version import versions

    found = versions()
    if console.output.json:
        console.document({"versions": found})
    else:
        width = max(map(len, found))
        for name, number in found.items():
            console.result(f"{name:<{width}}  {number}")
