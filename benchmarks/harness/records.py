"""What was measured, as JSON lines: one for each round of a measure, appended when the round is over."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

Results = Mapping[str, Mapping[str, float]]  # library -> name of a value -> value


@dataclass(frozen=True, slots=True)
class Record:
    """One round of a measure: every library once, one after the other."""

    measure: str
    round: int  # from 1
    date: str  # UTC
    quick: bool  # a trial on a twentieth of the rows
    machine: Mapping[str, Any]
    versions: Mapping[str, str]
    results: Results

    @property
    def condition(self) -> tuple[Any, ...]:
        """What has to be equal for two rounds to be of one series."""
        return self.quick, json.dumps(self.machine, sort_keys=True), self.versions.get("commit")


def append(file: Path, record: Record) -> None:
    with open(file, "a", encoding="utf-8") as lines:
        lines.write(json.dumps({"v": 1, **asdict(record)}) + "\n")


def read(file: Path) -> list[Record]:
    """All records, in their order. A line that was cut off by an interruption is left out."""
    if not file.exists():
        return []
    found = []
    for line in file.read_text(encoding="utf-8").splitlines():
        try:
            values = json.loads(line)
        except ValueError:
            continue
        del values["v"]
        found.append(Record(**values))
    return found


def latest_series(records: list[Record]) -> dict[str, list[Record]]:
    """For each measure the rounds of one series: that of its newest record, a full run before any trial."""
    series: dict[str, list[Record]] = {}
    for name in dict.fromkeys(record.measure for record in records):
        own = [record for record in records if record.measure == name]
        full = [record for record in own if not record.quick] or own
        series[name] = [record for record in full if record.condition == full[-1].condition]
    return series
