"""The table of epochs, as CSV and as plain text; how each value looks."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from rechub_cli.run.safe_text import one_line

Row = Mapping[str, Any]  # one epoch: epoch, step, train_loss, val_..., lr, rows_per_s, seconds, best


def columns(rows: Sequence[Row]) -> list[str]:
    """The columns of all rows, in order of appearance."""
    return list(dict.fromkeys(name for row in rows for name in row))


def metrics_csv(rows: Sequence[Row]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns(rows), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def table_text(rows: Sequence[Row]) -> str:
    """The table of epochs in plain text, at its natural width."""
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    names = [name for name in columns(rows) if name != "best"]
    table = Table(*[escape(one_line(heading(name))) for name in names], box=box.SIMPLE_HEAD)
    for column in table.columns:
        column.justify = "right"
        column.no_wrap = True
    for row in only_best(rows):
        table.add_row(*[cell(name, row) for name in names])
    console = Console(file=io.StringIO(), width=20 * len(names) + 20, color_system=None, highlight=False, markup=False)
    console.print(table)
    text = console.file
    assert isinstance(text, io.StringIO)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines() if line.strip()) + "\n"


def only_best(rows: Sequence[Row]) -> list[Row]:
    """Every epoch that was the best so far is marked as such; afterwards only the last of them is."""
    last = max((place for place, row in enumerate(rows) if row.get("best")), default=None)
    return [{**row, "best": place == last} for place, row in enumerate(rows)]


def heading(name: str) -> str:
    return {"rows_per_s": "ROWS/S", "seconds": "TIME"}.get(name, name.upper())


def cell(name: str, row: Row) -> str:
    """A value as the table shows it; the epoch with the best weights carries a star."""
    value = row.get(name)
    if value is None:
        return ""
    if name == "seconds":
        return clock(value)
    if name == "rows_per_s":
        return f"{value:,.0f}"
    if name == "lr":
        return f"{value:.3g}"
    if isinstance(value, float):
        return f"{value:.4f}"
    return f"{value}{' *' if name == 'epoch' and row.get('best') else ''}"


def clock(seconds: float) -> str:
    """``0:41``, ``1:02:03``"""
    whole = round(seconds)
    minutes, second = divmod(whole, 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"
