"""One process at a time: a lock that dies with its holder."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from rechub_cli import flocks
from rechub_cli.errors import Busy
from rechub_cli.files import creating

FOLDER_LOCK = ".publish.lock"  # of a runs folder: links are moved, and runs removed, by one process at a time
PATIENCE = 60.0  # seconds; what is done under the folder's lock is short


@contextlib.contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Hold the lock of a runs folder; a file system without locks goes without.

    Raises:
        CannotCreate: nothing can be written there.
        Busy: another process keeps it for longer than a minute.
    """
    with creating(folder):
        folder.mkdir(parents=True, exist_ok=True)
        file = os.open(folder / FOLDER_LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    deadline = time.monotonic() + PATIENCE
    try:
        while flocks.lock(file) is False:
            if time.monotonic() >= deadline:
                raise Busy(f"another process has been publishing or pruning in {folder} for a minute; try again")
            time.sleep(0.02)
        yield
    finally:
        os.close(file)
