"""What was met in rows while they were encoded: what it takes does not grow with the rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rechub_cli.data.block import Block


@dataclass(slots=True)
class Tally:
    """Counts by feature; the block's own meaning of each. ``rows`` is what shares are of."""

    rows: int = 0
    unseen: dict[str, int] = field(default_factory=dict)
    missing: dict[str, int] = field(default_factory=dict)
    empty: dict[str, int] = field(default_factory=dict)
    totals: dict[str, float] = field(default_factory=dict)

    def add(self, block: Block) -> None:
        self.rows += len(block)
        add(self.unseen, block.unseen)
        add(self.missing, block.missing)
        add(self.empty, block.empty)
        for name, total in block.totals.items():
            self.totals[name] = self.totals.get(name, 0.0) + total

    def shares(self, name: str) -> dict[str, float]:
        """What is comparable of a feature: its share of unseen and of missing values, its mean or its mean length."""
        rows, found = max(self.rows, 1), dict[str, float]()
        if name in self.empty:  # a sequence
            ids = self.totals.get(name, 0.0)
            found["missing"], found["length"] = self.empty[name] / rows, ids / rows
            if name in self.unseen:
                found["unseen"] = self.unseen[name] / max(ids, 1.0)
            return found
        if name in self.missing:
            found["missing"] = self.missing[name] / rows
        if name in self.unseen:
            found["unseen"] = self.unseen[name] / rows
        given = self.rows - self.missing.get(name, 0)
        if name in self.totals and given:
            found["mean"] = self.totals[name] / given
        return found

    @property
    def names(self) -> list[str]:
        return list(dict.fromkeys([*self.unseen, *self.missing, *self.empty, *self.totals]))


def add(counts: dict[str, int], more: Mapping[str, int]) -> None:
    for name, n in more.items():
        counts[name] = counts.get(name, 0) + n
