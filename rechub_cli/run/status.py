"""What ``run.json`` says of a training while it lasts: its phase, how long each took, its memory, a sign of life."""

from __future__ import annotations

import os
import platform
import resource
import socket
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rechub_cli.run.directory import Run, iso
from rechub_cli.run.events import Event, Progress

PHASES = {
    "reading": "reading",
    "counting": "reading",
    "checking": "reading",
    "sorting": "reading",
    "keeping": "reading",
    "encoding": "encoding",
    "train": "training",
    "test": "testing",
}  # by the first word of a loop's phase
VARIABLES = ("RECHUB_", "OMP_", "MKL_", "CUDA_VISIBLE_DEVICES", "ARROW_", "PYTORCH_")


class Status:
    """A listener that keeps ``run.json`` up to date: at each change of phase, and with each ``progress``."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._phase, self._since = "starting", time.monotonic()
        self._seconds: dict[str, float] = {}
        self._anonymous = 0

    def event(self, event: Event) -> None:
        if event.event == "progress":
            self.run.update(**self.now())

    def tick(self, progress: Progress) -> None:
        phase = PHASES.get(progress.phase.partition(" ")[0], self._phase)
        if phase != self._phase:
            self._count()
            self._phase = phase
            self.run.update(**self.now())

    def now(self) -> dict[str, Any]:
        """Phase, seconds by phase, bytes of memory, and the time."""
        self._count()
        self._anonymous = max(self._anonymous, anonymous() or 0)
        memory = {"peak_rss": peak_rss(), "rss_anon": self._anonymous or None}
        seconds = {phase: round(spent, 3) for phase, spent in self._seconds.items()}
        return {"phase": self._phase, "phases": seconds, "memory": memory, "heartbeat": iso(datetime.now(UTC))}

    def _count(self) -> None:
        now = time.monotonic()
        self._seconds[self._phase] = self._seconds.get(self._phase, 0.0) + now - self._since
        self._since = now


def peak_rss() -> int:
    """Bytes: the most that this process, or one that it started, has had in memory, mapped files included."""
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return peak if sys.platform == "darwin" else peak * 1024


def anonymous() -> int | None:
    """Bytes of private memory now; None where the system does not tell."""
    try:
        lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        return int(lines["RssAnon"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None


def environment() -> dict[str, Any]:
    """The machine, and the variables that steer us; no module is imported for it."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "host": socket.gethostname(),
        "platform": platform.platform(),
        "cpu": _cpu(),
        "cores": cores,
        "variables": {name: value for name, value in sorted(os.environ.items()) if name.startswith(VARIABLES)},
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
