"""Run one command in a forked child, with torch imported already, and watch it from outside.

A fork costs milliseconds where a fresh process costs seconds, and still has its own memory, descriptors and fate: a
crash, a hang or a leak is the child's alone, and is told.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
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

SECONDS, BYTES = 60.0, 2 << 30  # what one command may take
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
    seconds: float
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
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for kind in plugins.KINDS:
        plugins.names(kind)
    app.make_app()
    gc.freeze()  # a child's collector leaves the parent's pages alone


def run(
    arguments: Sequence[str | Path],
    cwd: Path,
    streams: Path,
    *,
    real: bool = False,
    seconds: float = SECONDS,
    memory: int = BYTES,
) -> Ended:
    """One command in ``cwd``; its output goes to files in ``streams``. ``real`` starts it as a user's shell would."""
    out, err = streams / "stdout", streams / "stderr"
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        _become(list(map(str, arguments)), cwd, out, err, real)
    killed = _watch(child, started + seconds, memory)
    _, status, used = os.wait4(child, 0)
    code = os.waitstatus_to_exitcode(status)
    return Ended(
        code,
        out.read_text(errors="replace"),
        err.read_text(errors="replace"),
        time.monotonic() - started,
        used.ru_maxrss << 10,
        killed,
    )


def _become(arguments: list[str], cwd: Path, out: Path, err: Path, real: bool) -> None:
    """The rest of the child's life."""
    code = ESCAPED
    try:
        os.setpgid(0, 0)
        for number, path, how in ((0, os.devnull, os.O_RDONLY), (1, out, 0), (2, err, 0)):
            os.dup2(os.open(path, how or os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), number)
        os.chdir(cwd)
        resource.setrlimit(resource.RLIMIT_AS, (_ADDRESSES, _ADDRESSES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
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


def _watch(child: int, deadline: float, memory: int) -> str:
    """Wait for the child's end; kill it where it takes too long, or too much."""
    descriptor = os.pidfd_open(child)
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
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
    try:
        text = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0
    found = re.search(r"RssAnon:\s+(\d+) kB", text)
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
    if ended.code not in (0, RUN_FAILED) and new:
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
