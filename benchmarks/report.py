"""docs/benchmarks.md from the lines of results.jsonl."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from goals import goals_of, mark, numbers, ratio
from harness.records import Record, latest_series
from measures.measure import OURS, Measure, Value

INTRODUCTION = Path(__file__).parent / "introduction.md"
FLOOR = "The floor"
TRIAL = (
    "**Trial**: rows marked so come from `--quick`, a twentieth of the rows, once. They show that everything"
    " works and say nothing of speed, so nothing is concluded from them."
)
FLOOR_HEADS = (
    "model",
    "precision",
    "rows of a step",
    "GFLOP",
    "MB moved",
    "floor, ms",
    "measured, ms",
    "floor / measured",
)


def render(records: Sequence[Record], measures: Mapping[str, Measure], loud: float) -> str:
    """The whole page: how to run it, what is measured, and a table for each section that has results."""
    found = latest_series(list(records))
    series = {name: found[name] for name in measures if name in found}
    parts = [INTRODUCTION.read_text(encoding="utf-8").rstrip(), "", *conditions(series)]
    parts += goals_table(series, measures)
    for section in dict.fromkeys(measure.section for measure in measures.values()):
        inside = {name: measures[name] for name in measures if measures[name].section == section and name in series}
        if not inside:
            continue
        table = floor_table if section == FLOOR else section_table
        parts += ["", f"## {section}", "", *table(inside, series, loud)]
    missing = [name for name in measures if name not in series]
    if missing:
        parts += ["", f"Not measured yet: {', '.join(f'`{name}`' for name in missing)}."]
    return "\n".join(parts) + "\n"


def conditions(series: Mapping[str, Sequence[Record]]) -> Iterator[str]:
    """When, where and with what the numbers were measured."""
    every = [record for rounds in series.values() for record in rounds]
    if not every:
        yield "Nothing is measured yet."
        return
    yield "## Conditions"
    yield ""
    if any(record.quick for record in every):
        yield TRIAL
        yield ""
    dates = sorted(record.date[:10] for record in every)
    yield f"- {dates[0]} to {dates[-1]}" if dates[0] != dates[-1] else f"- {dates[0]}"
    fewest, most = (found(len(rounds) for rounds in series.values() if rounds) for found in (min, max))
    yield f"- rounds of a measure: {fewest}" if fewest == most else f"- {fewest} to {most} rounds of a measure"
    yield from dict.fromkeys(
        f"- {m['cpu']}, {m['cores']} cores, {m['memory_gb']:.0f} GiB, {m['system']}, Python {m['python']}"
        + "".join(f", {m[what]}" for what in ("vectors", "gpu") if what in m)
        for m in (record.machine for record in every)
    )
    yield from dict.fromkeys(
        "- " + ", ".join(f"{name} {version}" for name, version in record.versions.items()) for record in every
    )


def goals_table(series: Mapping[str, Sequence[Record]], measures: Mapping[str, Measure]) -> Iterator[str]:
    """Every bar on one page: what is wanted, and what was reached."""
    rows = [
        (measures[name], value, goal)
        for name, rounds in series.items()
        for value in measures[name].values
        for goal in goals_of(rounds, value)
        if not rounds[0].quick
    ]
    if rows:
        yield from ("", "## Goals", "", "| what | reached | wanted |", "|---|---|---|")
    for measure, value, goal in rows:
        yield f"| {measure.title}: {value.title} | {goal.reached} | {goal.verdict} |"


def section_table(
    measures: Mapping[str, Measure], series: Mapping[str, Sequence[Record]], loud: float
) -> Iterator[str]:
    libraries = list(
        dict.fromkeys(library for name in measures for record in series[name] for library in record.results)
    )
    peers = [library for library in libraries if not library.startswith("rechub")]
    ratios = bool(peers) and any(library.startswith("rechub") for library in libraries)
    heads = ["what", *libraries, *(["ours against theirs", "wanted"] if ratios else ["wanted"])]
    yield f"| {' | '.join(heads)} |"
    yield f"|{'---|' * len(heads)}"
    doubted = False
    for name, measure in measures.items():
        rounds = series[name]
        noisy = any(values.get("others", 0.0) > loud for record in rounds for values in record.results.values())
        doubted |= noisy
        for place, value in enumerate(measure.values):
            if not any(value.key in values for record in rounds for values in record.results.values()):
                continue
            marks = " (trial)" * rounds[0].quick + " †" * noisy
            title = f"**{measure.title}**: {value.title}{marks}" if place == 0 else value.title
            cells = [title, *(spread(rounds, library, value) for library in libraries)]
            cells += [against(rounds, value) if not rounds[0].quick else ""] if ratios else []
            yield f"| {' | '.join([*cells, wanted(rounds, value)])} |"
    if doubted:
        yield ""
        yield f"† Other programs used more than {loud} cores in some round."


def spread(rounds: Sequence[Record], library: str, value: Value) -> str:
    """The median, and from where to where."""
    found = numbers(rounds, library, value.key)
    if not found:
        return ""
    middle, low, high = (f"{x:,.{value.digits}f}" for x in (statistics.median(found), min(found), max(found)))
    return middle if low == high else f"{middle} ({low} to {high})"


def against(rounds: Sequence[Record], value: Value) -> str:
    """Ratios of all pairs, or differences where the value is an accuracy."""
    libraries = dict.fromkeys(library for record in rounds for library in record.results)
    said = []
    for ours in OURS:
        for theirs in (library for library in libraries if not library.startswith("rechub")):
            if value.key.startswith("auc"):
                own, other = (numbers(rounds, library, value.key) for library in (ours, theirs))
                if own and other and ours == "rechub":
                    said.append(f"{statistics.median(own) - statistics.median(other):+.4f} {theirs}")
                continue
            times = ratio(rounds, ours, theirs, value)
            if times is not None:
                said.append(f"{times:.1f}× {theirs}{mark(ours)}")
    return ", ".join(said)


def wanted(rounds: Sequence[Record], value: Value) -> str:
    """The bars, and whether they are reached, which a trial does not tell."""
    return ", ".join(goal.wanted if rounds[0].quick else goal.verdict for goal in goals_of(rounds, value))


def floor_table(measures: Mapping[str, Measure], series: Mapping[str, Sequence[Record]], loud: float) -> Iterator[str]:
    """The floor of a step beside the steps that were measured, where both were."""
    yield f"| {' | '.join(FLOOR_HEADS)} |"
    yield f"|{'---|' * len(FLOOR_HEADS)}"
    for name, measure in measures.items():
        for ours in OURS:
            rounds, loops = series[name], series.get(measure.title, [])
            of = {value.key: numbers(rounds, ours, value.key) for value in measure.values}
            if not of["floor_ms"]:
                continue
            rows, gflop, mb, least = (statistics.median(of[key]) for key in ("rows", "gflop", "mb", "floor_ms"))
            speed = numbers([loop for loop in loops if not loop.quick], ours, "rows_per_s")
            taken = 1e3 * rows / statistics.median(speed) if speed else None
            cells = [
                measure.title.removeprefix("train.") + " (trial)" * rounds[0].quick,
                "fp32" if ours == "rechub" else "bf16",
                f"{rows:,.0f}",
                f"{gflop:.2f}",
                f"{mb:,.0f}",
                f"{least:.2f}",
                f"{taken:.2f}" if taken else "",
                f"{least / taken:.0%}" if taken else "",
            ]
            yield f"| {' | '.join(cells)} |"
