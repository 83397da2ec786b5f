"""A measure, what its values mean, and what they are held to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from harness.records import Results
from harness.workplace import Workplace

OURS = ("rechub", "rechub bf16")


@dataclass(frozen=True, slots=True)
class Value:
    """One value that a measure gives for every library.

    Args:
        key: its name in the record.
        title: what the report calls it, with its unit.
        ratios: our library -> other library -> how many times better ours must be.
        least, most: what ours must reach, or not exceed.
        lower: less is better, so that ratios are theirs / ours.
        digits: after the point.
    """

    key: str
    title: str
    ratios: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    least: float | None = None
    most: float | None = None
    lower: bool = False
    digits: int = 0


@dataclass(frozen=True, slots=True)
class Measure:
    """Values that one round gives together. ``section`` is the report's heading that it stands under."""

    name: str
    section: str
    title: str
    run: Callable[[Workplace, int], Results]
    values: tuple[Value, ...]
    rounds: int | None = None  # at most so many, where more say nothing new
