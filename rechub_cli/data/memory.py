"""Arrow's memory, and how much is left, so that what will not fit is told before the system kills the process."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import pyarrow as pa

T = TypeVar("T")
TIDY = 8  # chunks of rows
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


def settle() -> None:
    """Let Arrow use jemalloc where it has it, unless the user chose: its default keeps more, the longer it runs."""
    if "ARROW_DEFAULT_MEMORY_POOL" not in os.environ:
        with contextlib.suppress(NotImplementedError):
            pa.set_memory_pool(pa.jemalloc_memory_pool())


def tidied(chunks: Iterable[T]) -> Iterator[T]:
    """The chunks; after every few of them, memory that nobody holds goes back to the system.

    Each leaves holes between what is kept, in which the next ones do not fit: over many files they pile up.
    """
    for number, chunk in enumerate(chunks, start=1):
        yield chunk
        if number % TIDY == 0:
            pa.default_memory_pool().release_unused()
