"""What the values of a series come to, and whether they reach what they are held to."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from harness.records import Record
from measures.measure import OURS, Value


@dataclass(frozen=True, slots=True)
class Goal:
    """One bar, and what was reached. ``reached`` and ``wanted`` are as the report writes them."""

    reached: str
    wanted: str
    held: bool

    @property
    def verdict(self) -> str:
        return f"{self.wanted}: {'held' if self.held else 'missed'}"


def numbers(rounds: Sequence[Record], library: str, key: str) -> list[float]:
    """One value of a library, round by round."""
    return [record.results[library][key] for record in rounds if key in record.results.get(library, {})]


def ratio(rounds: Sequence[Record], ours: str, theirs: str, value: Value) -> float | None:
    """How many times better ours is: the median over the rounds, in each of which both ran one after the other."""
    both = [
        (record.results[ours][value.key], record.results[theirs][value.key])
        for record in rounds
        if value.key in record.results.get(ours, {}) and value.key in record.results.get(theirs, {})
    ]
    if not both:
        return None
    return statistics.median(b / a if value.lower else a / b for a, b in both)


def mark(ours: str) -> str:
    return "" if ours == "rechub" else " (bf16)"


def goals_of(rounds: Sequence[Record], value: Value) -> Iterator[Goal]:
    """The bars of a value that the rounds say something of."""
    for ours, bars in value.ratios.items():
        for theirs, least in bars.items():
            found = ratio(rounds, ours, theirs, value)
            if found is not None:
                of = f"{theirs}{mark(ours)}"
                yield Goal(f"{found:.1f}× {of}", f"≥ {least:g}× {of}", found >= least)
    for ours in OURS:
        own = numbers(rounds, ours, value.key)
        if not own:
            continue
        middle = statistics.median(own)
        said = f"{middle:,.{value.digits}f}{mark(ours)}"
        if value.least is not None:
            yield Goal(said, f"≥ {value.least:,g}{mark(ours)}", middle >= value.least)
        if value.most is not None:
            yield Goal(said, f"≤ {value.most:,g}{mark(ours)}", middle <= value.most)
