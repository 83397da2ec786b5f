"""Run one command in a forked child, with torch imported already, and watch it from outside.

A fork costs milliseconds where a fresh process costs seconds, and still has its own memory, descriptors and fate: a
crash, a hang or a leak is the child's alone, and is told.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import math
import os
import pkgutil
import re
import resource
import select
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

SECONDS, BYTES = 60.0, 2 << 30  # of processor time and of memory: what one command may take
PATIENCE = 5  # times as long by the clock, on a machine that does other work
_ADDRESSES = 64 << 30  # far above: it saves the machine between two looks at the child
_EVERY = 0.05
ESCAPED = 99  # something was raised past the command itself

DOCUMENTED = {0, 2, 3, 65, 66, 69, 73, 78}
RUN_FAILED = 1  # documented too, for a training that diverges or whose model does not fit in memory
_LEAKED = re.compile(r"^\S*\.py:\d+: \w*Warning", re.MULTILINE)


@dataclass(frozen=True)
class Ended:
    """A command that has ended; ``killed`` says what the watch ended it for."""

    code: int
    out: str
    err: str
    seconds: float  # of the processor
    peak: int  # bytes of resident memory at most
    killed: str = ""

    @property
    def last(self) -> str:
        lines = [line for line in self.err.splitlines() if line.startswith("error:")]
        return lines[0] if lines else self.err.strip()[-300:]


def preload() -> None:
    """Import what every command would: before the first fork, and without starting a thread."""
    os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
    import pandas  # noqa: F401
    import sklearn.metrics  # noqa: F401
    import torch
    import torch._dynamo  # by the first optimizer

    import rechub_cli
    from rechub_cli import plugins
    from rechub_cli.cli import app

    torch.set_num_threads(1)
    for module in pkgutil.walk_packages(rechub_cli.__path__, "rechub_cli."):
        if not module.name.endswith(("__main__", "_compiled")):  # compiled loops are no Python module
            importlib.import_module(module.name)
    for kind in plugins.KINDS:
        plugins.names(kind)
    app.make_app()
    gc.freeze()  # a child's collector leaves the parent's pages alone


class Host:
    """A forked child that runs one command after another, until one ends it or it has run many."""

    MOST = 200

    def __init__(self, streams: Path) -> None:
        self.streams = streams
        self.child, self.left = 0, 0

    def run(self, arguments: Sequence[str | Path], cwd: Path) -> Ended:
        """One command in ``cwd``."""
        if not self.left:
            self._start()
        self.left -= 1
        self.asks.write(json.dumps([list(map(str, arguments)), str(cwd)]) + "\n")
        self.asks.flush()
        killed = _watch(self.child, time.monotonic() + SECONDS * PATIENCE, BYTES, self.answers.fileno())
        answer = "" if killed else self.answers.readline()
        if answer:
            code, seconds = json.loads(answer)
            return _ended(self.streams, code, seconds, _peak(self.child), "")
        _, status, used = self._stop()
        code = os.waitstatus_to_exitcode(status)
        return _ended(self.streams, code, used.ru_utime + used.ru_stime, used.ru_maxrss << 10, killed)

    def close(self) -> None:
        if self.child:
            self._stop()

    def _start(self) -> None:
        self.close()
        (theirs, asks), (answers, mine) = os.pipe(), os.pipe()
        self.child, self.left = os.fork(), self.MOST
        if self.child == 0:
            os.close(asks)
            os.close(answers)
            _serve(os.fdopen(theirs), os.fdopen(mine, "w"), self.streams)
        os.close(theirs)
        os.close(mine)
        self.asks, self.answers = os.fdopen(asks, "w"), os.fdopen(answers)

    def _stop(self) -> tuple[int, int, resource.struct_rusage]:
        for pipe in (self.asks, self.answers):
            with contextlib.suppress(OSError):
                pipe.close()
        child, self.child, self.left = self.child, 0, 0
        return os.wait4(child, 0)


def _serve(asks: IO[str], answers: IO[str], streams: Path) -> None:
    """The rest of a host's life."""
    from rechub_cli.cli import app

    made = app.make_app()
    app.make_app = lambda: made
    _limit(10**6)
    for ask in asks:
        arguments, cwd = json.loads(ask)
        started = time.process_time()
        _redirect(streams)
        os.chdir(cwd)
        sys.argv = ["rechub", *arguments]
        code = ESCAPED
        try:
            code = app.run()
        except BaseException:
            traceback.print_exc()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        answers.write(json.dumps([code, time.process_time() - started]) + "\n")
        answers.flush()
    os._exit(0)


def run(arguments: Sequence[str | Path], cwd: Path, streams: Path, *, real: bool = False) -> Ended:
    """One command in ``cwd``, in a child of its own; ``real`` starts it as a user's shell would."""
    child = os.fork()
    if child == 0:
        _become(list(map(str, arguments)), cwd, streams, real)
    killed = _watch(child, time.monotonic() + SECONDS * PATIENCE, BYTES)
    _, status, used = os.wait4(child, 0)
    code = os.waitstatus_to_exitcode(status)
    return _ended(streams, code, used.ru_utime + used.ru_stime, used.ru_maxrss << 10, killed)


def _ended(streams: Path, code: int, seconds: float, peak: int, killed: str) -> Ended:
    out, err = ((streams / name).read_text(errors="replace") for name in ("stdout", "stderr"))
    return Ended(code, out, err, seconds, peak, killed)


def _become(arguments: list[str], cwd: Path, streams: Path, real: bool) -> None:
    """The rest of the child's life."""
    code = ESCAPED
    try:
        _redirect(streams)
        os.chdir(cwd)
        _limit(SECONDS)
        if real:
            os.execv(sys.executable, [sys.executable, "-m", "rechub_cli", *arguments])
        from rechub_cli.cli import app

        sys.argv = ["rechub", *arguments]
        code = app.run()
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stderr.flush()
        os._exit(code)


def _redirect(streams: Path) -> None:
    new = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    for number, path, how in ((0, os.devnull, os.O_RDONLY), (1, streams / "stdout", new), (2, streams / "stderr", new)):
        opened = os.open(path, how, 0o644)
        os.dup2(opened, number)
        os.close(opened)


def _limit(seconds: float) -> None:
    limits = {resource.RLIMIT_AS: _ADDRESSES, resource.RLIMIT_CORE: 0, resource.RLIMIT_CPU: math.ceil(seconds) + 1}
    for which, most in limits.items():
        resource.setrlimit(which, (most, most))


def _watch(child: int, deadline: float, memory: int, answers: int | None = None) -> str:
    """Wait for the child's end, or its answer; kill it where it takes too long, or too much."""
    descriptor = os.pidfd_open(child)
    try:
        poll = select.poll()
        for one in (descriptor, answers):
            if one is not None:
                poll.register(one, select.POLLIN)
        while not poll.poll(_EVERY * 1000):
            why = "time" if time.monotonic() > deadline else "memory" if _resident(child) > memory else ""
            if why:
                os.kill(child, signal.SIGKILL)
                return why
        return ""
    finally:
        os.close(descriptor)


def _resident(process: int) -> int:
    """Bytes of its own memory: files that it maps are the system's."""
    return _status(process, "RssAnon")


def _peak(process: int) -> int:
    """Bytes of resident memory at most so far."""
    return _status(process, "VmHWM")


def _status(process: int, name: str) -> int:
    try:
        text = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0
    found = re.search(rf"{name}:\s+(\d+) kB", text)
    return int(found[1]) << 10 if found else 0


def faults(
    ended: Ended, before: set[str], after: set[str], *, rows_out: bool = False, trains: bool = False
) -> list[str]:
    """What is wrong with how a command ended; ``before`` and ``after`` are the files of its folder.

    Args:
        rows_out: standard output takes rows as they come, so that a late fault may stand behind some.
        trains: it may also end as a run that failed, whose directory stays and says so.
    """
    found = []
    if ended.killed:
        return [f"killed: {ended.killed}"]
    if ended.code not in (DOCUMENTED | {RUN_FAILED} if trains else DOCUMENTED):
        found.append(f"exit code {ended.code}")
    if "Traceback" in ended.err + ended.out or "internal error" in ended.err:
        found.append("traceback")
    if _LEAKED.search(ended.err):
        found.append("a warning of Python's on standard error")
    told = sum(line.startswith("error: ") for line in ended.err.splitlines())
    if told != (ended.code != 0):
        found.append(f"{told} errors told")
    new = after - before
    if ended.code and ended.out and not rows_out:
        found.append("a result on standard output")
    if any(name.endswith(".tmp") for name in new):
        found.append("a temporary file is left")
    if ended.code not in (0, RUN_FAILED) and new and "The log, with the traceback:" not in ended.err:
        found.append(f"left behind: {', '.join(sorted(new)[:5])}")
    if before - after:
        found.append(f"gone: {', '.join(sorted(before - after)[:5])}")
    if ended.seconds > SECONDS or ended.peak > BYTES:
        found.append(f"{ended.seconds:.0f} s, {ended.peak >> 20} MiB")
    return found


def files_of(folder: Path) -> set[str]:
    """Every file and folder below, links not followed, with its size and time: what changed is told too."""
    found = set()
    for place, folders, names in os.walk(folder):
        for name in (*folders, *names):
            path = Path(place) / name
            status = path.lstat()
            is_file = not path.is_dir()
            found.add(f"{path.relative_to(folder)}" + (f" {status.st_size} {status.st_mtime_ns}" if is_file else ""))
    return found
