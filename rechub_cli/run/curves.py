"""``log_table.html``: the table of epochs and the training curves, in one file that needs no network."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from typing import Any

from rechub_cli.run.table import cell, columns, heading

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 420, 220, 56, 28, 14

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<style>
 body {{ font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 62rem; margin: 2rem auto; padding: 0 1rem }}
 table {{ border-collapse: collapse; font-variant-numeric: tabular-nums }}
 th, td {{ text-align: right; padding: .2rem .8rem; border-bottom: 1px solid #ddd }}
 tr.best td {{ font-weight: 600; background: #eef6ee }}
 figure {{ display: inline-block; margin: 0 1rem 1rem 0 }} figcaption {{ font-weight: 600 }}
 svg text {{ font: 11px system-ui, sans-serif; fill: #555 }}
</style></head><body>
<h1>{title}</h1>
{figures}
<table><thead><tr>{heads}</tr></thead><tbody>
{body}
</tbody></table>
</body></html>
"""


def page(title: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """The whole page. Row keys: epoch, step, then losses, metrics and timings."""
    names = [name for name in columns(rows) if name != "best"]
    curves = [name for name in names if name == "train_loss" or name.startswith("val_")]
    body = "\n".join(
        f"<tr{' class=best' if row.get('best') else ''}>"
        + "".join(f"<td>{html.escape(cell(name, row))}</td>" for name in names)
        + "</tr>"
        for row in rows
    )
    return PAGE.format(
        title=html.escape(title),
        figures="\n".join(figure(name, [(row["step"], row.get(name)) for row in rows]) for name in curves),
        heads="".join(f"<th>{html.escape(heading(name))}</th>" for name in names),
        body=body,
    )


def figure(name: str, points: Sequence[tuple[float, float | None]]) -> str:
    """One curve over the training steps, as inline SVG; points that are missing or not finite are left out."""
    known = [(x, y) for x, y in points if y is not None and math.isfinite(y)]
    if not known:
        return ""
    low, high = min(y for _, y in known), max(y for _, y in known)
    if high - low < 1e-12:
        low, high = low - 0.5 * (abs(low) or 1) * 1e-3, high + 0.5 * (abs(high) or 1) * 1e-3
    first, last = 0.0, float(max(x for x, _ in known)) or 1.0

    def at(x: float, y: float) -> tuple[float, float]:
        across = LEFT + (x - first) / (last - first) * (WIDTH - LEFT - 10)
        return across, TOP + (high - y) / (high - low) * (HEIGHT - TOP - BOTTOM)

    grid = []
    for share in (0.0, 0.5, 1.0):
        value = low + share * (high - low)
        _, y = at(0, value)
        grid.append(f'<line x1="{LEFT}" x2="{WIDTH - 10}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e4e4e4"/>')
        grid.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.4g}</text>')
    for x_value in (first, last):
        x, _ = at(x_value, low)
        grid.append(f'<text x="{x:.1f}" y="{HEIGHT - 8}" text-anchor="middle">{x_value:,.0f}</text>')
    places = [at(x, y) for x, y in known]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="#2a6fb0"/>' for x, y in places)
    return (
        f"<figure><figcaption>{html.escape(name)}</figcaption>"
        f'<svg width="{WIDTH}" height="{HEIGHT}" role="img" aria-label="{html.escape(name)} over steps">'
        f'{"".join(grid)}<polyline points="{line}" fill="none" stroke="#2a6fb0" stroke-width="2"/>{dots}</svg></figure>'
    )
