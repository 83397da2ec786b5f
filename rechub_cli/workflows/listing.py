"""What ``run.json`` and the files beside it say of a run; nothing in them is taken for granted."""

from __future__ import annotations

import contextlib
import csv
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rechub_cli.errors import RechubError
from rechub_cli.run.directory import Run
from rechub_cli.run.folder import Folder, runs_folder
from rechub_cli.run.lock import holder_of

STATUSES = ("running", "done", "failed", "interrupted", "died", "damaged")


@dataclass(frozen=True, slots=True)
class Listed:
    """One run, as far as it can be read."""

    name: str
    path: Path
    status: str  # one of STATUSES
    info: Mapping[str, Any]  # run.json, empty where it is damaged
    links: tuple[str, ...]  # latest, and the names it is published under
    started: datetime
    fault: str | None = None  # what is damaged
    holder: str | None = None  # who writes it now

    @property
    def model(self) -> str:
        name = section(section(self.info, "spec"), "model").get("name")
        return name if isinstance(name, str) else ""

    @property
    def seconds(self) -> float | None:
        """How long it trained, or has been training."""
        if self.status == "running":
            return (datetime.now(UTC) - self.started).total_seconds()
        ended = moment(self.info.get("ended"))
        return None if ended is None else (ended - self.started).total_seconds()

    @property
    def metric(self) -> tuple[str, float] | None:
        """The name and the value of what chose the best weights."""
        best = section(self.info, "best") or best_epoch(self.path)
        test = {f"test_{name}": value for name, value in section(self.info, "test").items()}
        for name, value in [*numbers(best, "val_").items(), *numbers(test, "").items()]:
            return name, value
        return None

    def size(self) -> int:
        """Bytes on disk."""
        return folder_size(self.path)

    def to_json(self) -> dict[str, Any]:
        metric = self.metric
        return {
            "name": self.name,
            "path": str(self.path),
            "status": self.status,
            "links": list(self.links),
            "command": self.info.get("command"),
            "model": self.model or None,
            "metric": None if metric is None else {"name": metric[0], "value": metric[1]},
            "started": self.started.isoformat(timespec="seconds").replace("+00:00", "Z"),
            "seconds": self.seconds,
            "bytes": self.size(),
            "fault": self.fault,
        }


def list_runs(folder: Folder | None = None) -> list[Listed]:
    """The runs of the runs folder, newest first."""
    folder = folder or Folder.scan(runs_folder())
    found = [look_at(run, folder) for run in folder.runs]
    return sorted(found, key=lambda run: (run.started, run.name), reverse=True)


def look_at(path: Path, folder: Folder | None = None) -> Listed:
    """One run, whatever state it is in."""
    folder = folder or Folder.scan(runs_folder())
    real, root = Path(os.path.realpath(path)), Path(os.path.realpath(folder.path))
    name = str(real.relative_to(root)) if real.is_relative_to(root) else str(path)
    links = tuple(folder.names(path))
    info: Mapping[str, Any] = {}
    fault = holder = None
    try:
        info = Run.open(path).info
        status = info.get("status")
        if status not in STATUSES:
            status, fault = "damaged", f"run.json has no status that is known: {status!r}"
    except RechubError as error:
        status, fault = "damaged", str(error)
    if status in ("running", "damaged"):
        with contextlib.suppress(OSError):  # a file system without locks: nobody can tell
            holder = holder_of(path)
            if status == "running" and holder is None:
                status = "died"
            elif fault and holder is not None and not (path / "run.json").exists():
                status, fault = "running", None  # it has only just begun
    return Listed(name, path, status, info, links, started_of(path, info), fault, holder)


def started_of(path: Path, info: Mapping[str, Any]) -> datetime:
    """When the run began; of a damaged one, when its folder last changed."""
    started = moment(info.get("started"))
    if started is not None:
        return started
    try:
        return datetime.fromtimestamp(path.stat().st_mtime, UTC)
    except OSError:
        return datetime.fromtimestamp(0, UTC)


def moment(text: Any) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def epochs_of(path: Path) -> list[dict[str, str]]:
    """The rows of metrics.csv; none where it is missing or damaged."""
    with contextlib.suppress(OSError, ValueError, csv.Error), open(path / "metrics.csv", encoding="utf-8") as file:
        return [dict(row) for row in csv.DictReader(file)]
    return []


def best_epoch(path: Path) -> dict[str, Any]:
    """The best row so far of a run that has not ended well."""
    best = [row for row in epochs_of(path) if row.get("best") == "True"]
    found = {}
    for name, text in (best[-1] if best else {}).items():
        with contextlib.suppress(TypeError, ValueError):
            found[name] = float(text)
    return found


def section(info: Mapping[str, Any], key: str) -> dict[str, Any]:
    """A part of run.json, empty where it is none."""
    found = info.get(key)
    return found if isinstance(found, dict) else {}


def numbers(values: Mapping[str, Any], prefix: str) -> dict[str, float]:
    """The numbers among values whose names begin so."""
    return {
        name: float(value)
        for name, value in values.items()
        if str(name).startswith(prefix) and isinstance(value, int | float) and not isinstance(value, bool)
    }


def metrics_of(info: Mapping[str, Any]) -> dict[str, float]:
    """``val_auc`` of the best weights, ``test_auc``, and ``popular test_recall@10`` of baselines."""
    found = numbers(section(info, "best"), "val_")
    found |= {f"test_{name}": value for name, value in numbers(section(info, "test"), "").items()}
    for part, models in section(info, "baselines").items():
        for model, values in models.items() if isinstance(models, dict) else ():
            if isinstance(values, dict):
                found |= {f"{model} {part}_{name}": value for name, value in numbers(values, "").items()}
    return found


def folder_size(path: Path) -> int:
    """Bytes of the files below; those that vanish meanwhile, or cannot be read, are not counted."""
    total = 0
    for parent, _, files in os.walk(path):
        for file in files:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(parent, file)).st_size
    return total
