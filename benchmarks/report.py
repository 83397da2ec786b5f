"""docs/benchmarks.md from the lines of results.jsonl."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from harness.records import Record, latest_series
from measures.measure import OURS, Measure, Value

INTRODUCTION = Path(__file__).parent / "introduction.md"
FLOOR = "The floor"
TRIAL = "**Trial**: rows marked so come from `--quick`, a twentieth of the rows, once. They say nothing of speed."
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
    series = {name: rounds for name, rounds in latest_series(list(records)).items() if name in measures}
    parts = [INTRODUCTION.read_text(encoding="utf-8").rstrip(), "", *conditions(series)]
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
    yield from dict.fromkeys(
        f"- {m['cpu']}, {m['cores']} cores, {m['memory_gb']:.0f} GiB, {m['system']}, Python {m['python']}"
        for m in (record.machine for record in every)
    )
    yield from dict.fromkeys(
        "- " + ", ".join(f"{name} {version}" for name, version in record.versions.items()) for record in every
    )


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
            cells += [against(rounds, value)] if ratios else []
            yield f"| {' | '.join([*cells, verdict(rounds, value)])} |"
    if doubted:
        yield ""
        yield f"† Other programs used more than {loud} cores in some round."


def numbers(rounds: Sequence[Record], library: str, key: str) -> list[float]:
    """One value of a library, round by round."""
    return [record.results[library][key] for record in rounds if key in record.results.get(library, {})]


def spread(rounds: Sequence[Record], library: str, value: Value) -> str:
    """The median, and from where to where."""
    found = numbers(rounds, library, value.key)
    if not found:
        return ""
    middle, low, high = (f"{x:,.{value.digits}f}" for x in (statistics.median(found), min(found), max(found)))
    return middle if low == high else f"{middle} ({low} to {high})"


def ratio(rounds: Sequence[Record], ours: str, theirs: str, value: Value) -> float | None:
    """How many times better ours is: the median over the rounds, for which both ran one after the other."""
    both = [
        (record.results[ours][value.key], record.results[theirs][value.key])
        for record in rounds
        if value.key in record.results.get(ours, {}) and value.key in record.results.get(theirs, {})
    ]
    if not both:
        return None
    return statistics.median(b / a if value.lower else a / b for a, b in both)


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
                said.append(f"{times:.1f}× {theirs}{' (bf16)' if ours != 'rechub' else ''}")
    return ", ".join(said)


def verdict(rounds: Sequence[Record], value: Value) -> str:
    """What the value is held to, and whether it holds."""
    said = []
    for ours, wanted in value.ratios.items():
        for theirs, times in wanted.items():
            found = ratio(rounds, ours, theirs, value)
            if found is not None:
                bf16 = " (bf16)" if ours != "rechub" else ""
                said.append(f"≥ {times:g}× {theirs}{bf16}: {'held' if found >= times else 'missed'}")
    for limit, sign in ((value.least, "≥"), (value.most, "≤")):
        for ours in OURS if limit is not None else ():
            found = numbers(rounds, ours, value.key)
            if not found or limit is None:
                continue
            middle = statistics.median(found)
            held = middle >= limit if sign == "≥" else middle <= limit
            bf16 = " (bf16)" if ours != "rechub" else ""
            said.append(f"{sign} {limit:,g}{bf16}: {'held' if held else 'missed'}")
    return ", ".join(said)


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
            speed = numbers(loops, ours, "rows_per_s")
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
