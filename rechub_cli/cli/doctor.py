"""``rechub doctor``"""

from __future__ import annotations

from rechub_cli.cli.console import Console
from rechub_cli.cli.tables import show_pairs


def doctor(console: Console) -> None:
    """Describe the installation and the machine, for a bug report; exit 3 where something is broken."""
    from rechub_cli.cli.command import VARIABLES
    from rechub_cli.workflows.doctor import examine, lines

    report = examine([f"RECHUB_{name}" for name in VARIABLES])
    if console.output.json:
        console.document(report.to_json())
    else:
        show_pairs(console, lines(report))
    report.raise_if_broken()
