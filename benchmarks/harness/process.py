"""One command as a process: what it said, what it cost, and what else the machine did meanwhile."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PR_SET_CHILD_SUBREAPER = 36
TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Ended:
    """A process that has ended."""

    code: int
    out: str
    err: str
    started: float  # seconds since the epoch
    seconds: float
    cpu_seconds: float  # of the process and of all that it started
    peak_mb: float  # resident memory of the process itself at its highest
    anonymous_mb: float  # private memory (RssAnon) of it and its children at its highest; 0 where the system is silent
    others: float  # cores that other programs used meanwhile, on average

    def cost(self) -> dict[str, float]:
        """What is written down of every process."""
        return {"cpu_s": self.cpu_seconds, "peak_mb": self.peak_mb, "others": self.others}

    def result(self) -> dict[str, Any]:
        """The values of the script's RESULT line.

        Raises:
            RuntimeError: it has none, or the script failed.
        """
        lines = [line for line in self.out.splitlines() if line.startswith("RESULT ")]
        if self.code or not lines:
            raise RuntimeError(f"exit {self.code}\n{self.err[-2000:]}")
        return json.loads(lines[-1].removeprefix("RESULT "))


def run(command: Sequence[object], **environment: str) -> Ended:
    """Run a command to its end, with some variables of its environment beside those of this process."""
    adopt_orphans()
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        started, clock, busy = time.time(), time.perf_counter(), busy_seconds()
        process = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            env={**os.environ, **environment},
        )
        peaks = {"VmHWM": 0, "RssAnon": 0}
        threading.Thread(target=watch, args=(process.pid, peaks), daemon=True).start()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds, busy = time.perf_counter() - clock, busy_seconds() - busy
        cpu = usage.ru_utime + usage.ru_stime + orphans_seconds()
        out.seek(0)
        err.seek(0)
        return Ended(
            process.returncode,
            out.read(),
            err.read(),
            started,
            seconds,
            cpu,
            # The highest that wait4 tells of is at least that of this process, from which the other was started.
            peaks["VmHWM"] / 1024 or usage.ru_maxrss / (1024**2 if sys.platform == "darwin" else 1024),
            peaks["RssAnon"] / 1024,
            max(0.0, busy - cpu) / seconds,
        )


def busy_seconds() -> float:
    """CPU seconds that all programs have used since the machine started; 0 where the system does not tell."""
    try:
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    except OSError:
        return 0.0
    user, nice, system, _, _, irq, softirq, *_ = map(int, fields)
    return (user + nice + system + irq + softirq) / TICK


def watch(pid: int, peaks: dict[str, int]) -> None:
    """Keep the highest values (kB) of a process, and of it and its children, looking twenty times a second."""
    with contextlib.suppress(OSError):
        while lines := Path(f"/proc/{pid}/status").read_text().splitlines():
            told = dict(line.split(":", 1) for line in lines)
            if "VmHWM" not in told:  # it has ended
                return
            peaks["VmHWM"] = max(peaks["VmHWM"], int(told["VmHWM"].split()[0]))
            private = int(told["RssAnon"].split()[0]) + sum(map(private_kb, children(pid)))
            peaks["RssAnon"] = max(peaks["RssAnon"], private)
            time.sleep(0.05)


def children(pid: int) -> list[str]:
    """The processes that the main thread of a process has started, and that live; none where the system is silent."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return []


def private_kb(pid: str) -> int:
    """RssAnon of a process, what it still shares with its parent included; 0 where it has ended."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("RssAnon"):
                return int(line.split()[1])
    return 0


def adopt_orphans() -> None:
    """Become the parent of what a child leaves behind, such as a library's own servers: their cost is the child's."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def orphans_seconds() -> float:
    """CPU seconds of the orphans that have ended by now."""
    total = 0.0
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, _, usage = os.wait4(-1, os.WNOHANG)
            if not pid:
                break
            total += usage.ru_utime + usage.ru_stime
    return total
