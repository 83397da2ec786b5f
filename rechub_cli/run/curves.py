"""``log_table.html``: the training curves and the table of epochs, in one file that needs no network."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rechub_cli.run.table import cell, columns, heading, only_best

Points = Sequence[tuple[float, float]]  # (step, value)
INKS = ("a", "b", "c", "d")
WIDTH, HEIGHT, LEFT, RIGHT, BOTTOM, TOP = 440, 240, 60, 14, 40, 12

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark">
<style>
 :root {{ --ink: #222; --soft: #667; --rule: #e2e2e6; --paper: #fff; --best: #e9f5ea;
  --a: #2a6fb0; --b: #d1662a; --c: #2f8f5b; --d: #8a4fb5 }}
 @media (prefers-color-scheme: dark) {{
  :root {{ --ink: #e6e6e6; --soft: #a2a2ad; --rule: #3a3a42; --paper: #18181c; --best: #1d3322;
   --a: #6fb1ee; --b: #f0a070; --c: #74cf9c; --d: #c79bf0 }}
 }}
 body {{ font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 62rem; margin: 2rem auto; padding: 0 1rem }}
 h1 {{ font-size: 1.3rem; margin: 0; overflow-wrap: anywhere }} p {{ margin: .2rem 0 1.5rem; color: var(--soft) }}
 div.wide {{ overflow-x: auto }}
 table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; white-space: nowrap }}
 th {{ font-size: .75rem; letter-spacing: .03em; color: var(--soft) }}
 th, td {{ text-align: right; padding: .25rem .8rem; border-bottom: 1px solid var(--rule) }}
 tr.best td {{ font-weight: 600; background: var(--best) }}
 figure {{ display: inline-block; margin: 0 1rem 1.5rem 0; max-width: 100% }} figcaption {{ font-weight: 600 }}
 figcaption span {{ font-weight: 400; margin-left: .8rem }}
 svg {{ max-width: 100%; height: auto }} svg text {{ font: 11px system-ui, sans-serif; fill: var(--soft) }}
 .rule {{ stroke: var(--rule) }} .a {{ color: var(--a) }} .b {{ color: var(--b) }} .c {{ color: var(--c) }}
 .d {{ color: var(--d) }} .soft {{ color: var(--soft) }}
 polyline {{ fill: none; stroke: currentColor; stroke-width: 2; stroke-linejoin: round }}
 .soft polyline {{ stroke-width: 1; opacity: .45 }} circle {{ fill: currentColor }}
 circle.best {{ fill: var(--paper); stroke: currentColor; stroke-width: 2.5 }}
</style></head><body>
<h1>{title}</h1>
<p>{summary}</p>
{figures}
<div class="wide"><table><thead><tr>{heads}</tr></thead><tbody>
{body}
</tbody></table></div>
</body></html>
"""


@dataclass(frozen=True, slots=True)
class Series:
    """One line of a chart."""

    name: str
    points: Points
    ink: str  # a class of the page's style
    dots: bool = True


def page(title: str, rows: Sequence[Mapping[str, Any]], losses: Points = ()) -> str:
    """The whole page.

    Args:
        rows: one for each epoch: epoch, step, then losses, metrics and timings.
        losses: (step, training loss of that step's batch), as many as there are.
    """
    names = [name for name in columns(rows) if name != "best"]
    rows = only_best(rows)
    body = "\n".join(
        f"<tr{' class=best' if row.get('best') else ''}>"
        + "".join(f"<td>{html.escape(cell(name, row))}</td>" for name in names)
        + "</tr>"
        for row in rows
    )
    best = next((row for row in rows if row["best"]), None)
    return PAGE.format(
        title=html.escape(title),
        summary=html.escape(summary(rows, best)),
        figures="\n".join(figures(names, rows, losses, None if best is None else best["step"])),
        heads="".join(f"<th>{html.escape(heading(name))}</th>" for name in names),
        body=body,
    )


def summary(rows: Sequence[Mapping[str, Any]], best: Mapping[str, Any] | None) -> str:
    said = f"{len(rows)} epoch{'s' * (len(rows) != 1)}"
    if best is not None:
        metrics = [f"{name} {cell(name, best)}" for name in best if name.startswith("val_")]
        said += ", ".join([f"; best: epoch {best['epoch']}", *metrics])
    return said


def figures(names: Sequence[str], rows: Sequence[Mapping[str, Any]], losses: Points, best: float | None) -> list[str]:
    """The losses in one chart, of several labels each label's in one more; their weights; each other metric."""

    def points(name: str) -> Points:
        found = [(row["step"], row.get(name)) for row in rows]
        return [(step, value) for step, value in found if value is not None and math.isfinite(value)]

    series = [
        Series("each batch", [(step, value) for step, value in losses if math.isfinite(value)], "soft", False),
        Series("train_loss", points("train_loss"), "a"),
        Series("val_logloss", points("val_logloss"), "b"),
    ]
    charts = [figure("loss", series, best)]
    labels = [name.removeprefix("train_loss_") for name in names if name.startswith("train_loss_")]
    shown = {"val_logloss"}
    for label in labels:
        both = {f"train_loss_{label}": "a", f"val_logloss_{label}": "b"}
        charts.append(figure(f"loss of {label}", [Series(name, points(name), ink) for name, ink in both.items()], best))
        shown |= both.keys()
    weights = [Series(label, points(f"weight_{label}"), INKS[at % len(INKS)]) for at, label in enumerate(labels)]
    charts.append(figure("weights of the losses", weights, best))
    for name in names:
        if name.startswith("val_") and name not in shown:
            charts.append(figure(name, [Series(name, points(name), "b")], best))
    return [chart for chart in charts if chart]


def figure(title: str, series: Sequence[Series], best: float | None = None) -> str:
    """One chart over the training steps, as inline SVG; the step of the best weights is a ring."""
    series = [one for one in series if one.points]
    if not series:
        return ""
    low, high = bounds(series)
    last = float(max(step for one in series for step, _ in one.points)) or 1.0

    def at(step: float, value: float) -> tuple[float, float]:
        value = min(max(value, low), high)
        across = LEFT + step / last * (WIDTH - LEFT - RIGHT)
        return across, TOP + (high - value) / (high - low) * (HEIGHT - TOP - BOTTOM)

    marks = []
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        value = low + share * (high - low)
        _, y = at(0, value)
        marks.append(f'<line class="rule" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        marks.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.4g}</text>')
    for step in (0.0, last / 2, last):
        x, _ = at(step, low)
        anchor = "end" if step == last else "middle"
        marks.append(f'<text x="{x:.1f}" y="{HEIGHT - 22}" text-anchor="{anchor}">{step:,.0f}</text>')
    marks.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2:.1f}" y="{HEIGHT - 6}" text-anchor="middle">step</text>')
    marks += [_line(one, at, best) for one in series]
    keys = [f'<span class="{one.ink}">{html.escape(one.name)}</span>' for one in series] if len(series) > 1 else []
    name = html.escape(title)
    return (
        f"<figure><figcaption>{name}{''.join(keys)}</figcaption>"
        f'<svg width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{name} by step">'
        f"{''.join(marks)}</svg></figure>"
    )


def bounds(series: Sequence[Series]) -> tuple[float, float]:
    """The range of values to show: of single batches only the bulk, for a few stray far off."""
    values: list[float] = []
    for one in series:
        own = sorted(value for _, value in one.points)
        cut = 0 if one.dots else len(own) // 50
        values += own[cut : len(own) - cut]
    low, high = min(values), max(values)
    if high - low < 1e-12:
        return low - 5e-4 * (abs(low) or 1), high + 5e-4 * (abs(high) or 1)
    return low, high


def _line(series: Series, at: Any, best: float | None) -> str:
    places = [at(step, value) for step, value in series.points]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    dots = ""
    if series.dots:
        rings = [step == best for step, _ in series.points]
        dots = "".join(
            f'<circle{" class=best" if ring else ""} cx="{x:.1f}" cy="{y:.1f}" r="{4 if ring else 2.5}"/>'
            for (x, y), ring in zip(places, rings, strict=True)
        )
    return f'<g class="{series.ink}"><polyline points="{line}"/>{dots}</g>'
