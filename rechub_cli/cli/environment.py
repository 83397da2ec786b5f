"""What torch and Arrow read from the environment: how threads wait, where memory comes from, what a trace says."""

from __future__ import annotations

import os
import time

SPINS = "20000"  # tens of microseconds: longer than a wait within a step, shorter than the scheduler's slice
LOOKS, BETWEEN = 5, 0.003  # and the seconds between two


def settle_environment() -> None:
    """Choose how idle threads wait, large pages for large tables, and malloc for Arrow, unless the user chose.

    A thread that spins while it waits is quickest on a machine of its own: a step of 256 rows takes half
    the time. Where other programs run it takes the processor from the very thread it waits for, and a step
    can take twenty times as long; there, threads sleep.

    Arrow's own allocator gives memory back to the system and faults it in anew for each chunk of rows.
    A trace announces its start and end on standard error, where only the command's own lines belong.
    """
    os.environ.setdefault("KINETO_LOG_LEVEL", "6")
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    if {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
        return
    if busy():
        os.environ["OMP_WAIT_POLICY"] = "passive"
    else:
        os.environ["GOMP_SPINCOUNT"] = SPINS


def busy() -> bool:
    """Whether other programs run at every one of some looks: a thread may run for a moment only."""
    many = max(1, (os.cpu_count() or 1) // 4)
    for look in range(LOOKS):
        if look:
            time.sleep(BETWEEN)
        if others_running() < many:
            return False
    return True


def others_running() -> int:
    """Threads of the machine that run at this moment, besides this one; 0 where the system does not tell."""
    try:
        with open("/proc/loadavg") as file:
            return int(file.read().split()[3].partition("/")[0]) - 1
    except (OSError, ValueError, IndexError):
        return 0
