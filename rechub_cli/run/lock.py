"""The lock of a run directory: one process writes a run, and its death frees it."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from rechub_cli import flocks
from rechub_cli.errors import Busy

NAME = ".lock"
_POLL_SECONDS = 0.2


class Lock:
    """The lock of one folder, held until it is released or the process ends.

    Attributes:
        trusted: False where the file system has no locks, so that nobody is kept out.
    """

    def __init__(self, file: IO[str], trusted: bool) -> None:
        self._file, self.trusted = file, trusted

    @classmethod
    def take(
        cls, folder: Path, wait: float = 0, argv: Sequence[str] = (), check: Callable[[], None] = lambda: None
    ) -> Lock:
        """Make the folder if need be and lock it.

        Args:
            wait: seconds that another process may still hold it.
            argv: our command line, for those who find it locked.
            check: called while waiting; may raise.

        Raises:
            Busy: another process holds it. OSError: the lock file cannot be written.
        """
        deadline = time.monotonic() + wait
        while True:
            folder.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):  # the folder went away: make it anew
                file = open(folder / NAME, "a+", encoding="utf-8", errors="backslashreplace")  # noqa: SIM115
                held = flocks.lock(file)
                if held is not False and flocks.is_at(file.fileno(), folder / NAME):
                    return cls(file, held is not None)._sign(argv)
                if held is False and time.monotonic() >= deadline:
                    file.seek(0)
                    holder = file.read()
                    file.close()
                    raise busy(folder, holder)
                file.close()
                if held is False:
                    time.sleep(_POLL_SECONDS)
            check()

    def release(self) -> None:
        self._file.close()

    def _sign(self, argv: Sequence[str]) -> Lock:
        command = " ".join(["rechub", *argv[1:]])
        since = f"{datetime.now(UTC):%H:%M} UTC"
        with contextlib.suppress(OSError):  # a full disk: the name of the holder is a courtesy
            self._file.truncate(0)
            self._file.write(f"pid {os.getpid()} on {socket.gethostname()} since {since} ({command})\n")
            self._file.flush()
        return self


def holder_of(folder: Path) -> str | None:
    """Who holds the lock of a folder now, in words; None where nobody does, or nobody can tell."""
    with contextlib.suppress(OSError), open(folder / NAME, encoding="utf-8", errors="replace") as file:
        if flocks.lock(file, flocks.TOGETHER) is False:
            return file.read()
    return None


def busy(folder: Path, holder: str) -> Busy:
    return Busy(f"run {folder} is in use by {holder.strip() or 'another process'}; use --wait 600 or another -o")
