"""How much memory is left, so that what will not fit is told before the system kills the process."""

from __future__ import annotations

from pathlib import Path

_MEMINFO, _CONTROL_GROUP = Path("/proc/meminfo"), Path("/sys/fs/cgroup")


def available() -> int | None:
    """Bytes that this process can still have, in its container if it is in one; None where nothing tells."""
    found = []
    try:
        lines = dict(line.split(":", 1) for line in _MEMINFO.read_text().splitlines())
        found.append(int(lines["MemAvailable"].split()[0]) * 1024)
    except (OSError, KeyError, ValueError):
        pass
    try:
        most = int((_CONTROL_GROUP / "memory.max").read_text())  # the word max where there is no limit
        statistics = dict(line.split() for line in (_CONTROL_GROUP / "memory.stat").read_text().splitlines())
        found.append(most - int(statistics["anon"]))  # file pages are given up when memory is short
    except (OSError, KeyError, ValueError):
        pass
    return min(found, default=None)
