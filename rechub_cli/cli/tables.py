"""Tables on standard output: Rich's at a terminal, plain text of natural width off it."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Sequence

from rechub_cli.cli.console import Console, wants_color


def show_table(
    console: Console, heads: Sequence[str], rows: Sequence[Sequence[str]], *, right: Collection[str] = ()
) -> None:
    """One line a row. ``right`` are the heads of the columns that numbers stand in."""
    if console.stdout.isatty():
        console.result(rich_table(heads, rows, right, wants_color(console.output.color, True)))
        return
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    for row in (heads, *rows):
        cells = [
            f"{cell:>{width}}" if head in right else f"{cell:<{width}}"
            for head, cell, width in zip(heads, row, widths, strict=True)
        ]
        console.result("  ".join(cells).rstrip())


def rich_table(heads: Sequence[str], rows: Sequence[Sequence[str]], right: Collection[str], color: bool) -> str:
    """As wide as the terminal allows; what is longer goes on in the next line."""
    from rich import box
    from rich.console import Console as Rich
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD)
    for head in heads:
        table.add_column(head, justify="right" if head in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    width = shutil.get_terminal_size().columns
    rich = Rich(width=width, force_terminal=color, color_system="standard" if color else None, highlight=False)
    with rich.capture() as capture:
        rich.print(table)
    return capture.get().strip("\n")


def show_pairs(console: Console, pairs: Sequence[tuple[str, str]]) -> None:
    """A word and what there is to say, one line each."""
    width = max((len(word) for word, _ in pairs), default=0)
    for word, said in pairs:
        console.result(f"{word:<{width}}  {said}".rstrip())
