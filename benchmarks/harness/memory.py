"""A limit on the memory of a command, the pages of the files that it reads and writes included."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

GROUPS = Path("/sys/fs/cgroup/memory")  # where the first version of Linux's control groups is mounted


class Unlimited(Exception):
    """This system limits no memory, or not for this user."""


@contextlib.contextmanager
def limited(limit: int) -> Iterator[list[str]]:
    """Words that, before a command, keep it within ``limit`` bytes: a control group of its own.

    Raises:
        Unlimited
    """
    if (GROUPS / "memory.limit_in_bytes").exists():
        group = GROUPS / own_group() / f"bench-{os.getpid()}"
        try:
            group.mkdir()
        except OSError as error:
            raise Unlimited(f"no control group can be made: {error}") from None
        try:
            (group / "memory.limit_in_bytes").write_text(str(limit))
            yield ["sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh"]
        finally:
            group.rmdir()
        return
    words = ["systemd-run", "--quiet", "--scope", "-p", f"MemoryMax={limit}", "-p", "MemorySwapMax=0"]
    if os.getuid():
        words.insert(1, "--user")
    try:
        subprocess.run([*words, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise Unlimited(f"no control group can be made: {error}") from None
    yield words


def own_group() -> str:
    """The control group for memory that this process is in, below where they are mounted."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            return path.lstrip("/")
    raise Unlimited("this process is in no control group for memory")


def forget(file: Path) -> None:
    """Let the system forget a file's pages, so that the next reader takes them from the disk."""
    with open(file, "rb") as opened:
        os.fsync(opened.fileno())
        os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
