"""Who uses which cache: so that one is built once, and none is removed under a training that reads it.

    <key>.lock        held while the cache <key> is looked for, built or removed
    <key>/rows.bin    locked by everybody who reads the cache, together, for as long as they may

Locks die with their holder. A file system without locks goes without.
"""

from __future__ import annotations

import contextlib
import os
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

from rechub_cli import flocks
from rechub_cli.files import creating

_POLL_SECONDS = 0.2


@contextlib.contextmanager
def key_lock(path: Path, *, wait: bool = True, progress: Callable[[int], None] | None = None) -> Iterator[bool]:
    """Hold the lock of a key; False where somebody else does and ``wait`` is not asked for.

    ``progress`` is called while another process holds it, and may raise.
    """
    while True:
        with creating(path):
            file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            while flocks.lock(file, wait=wait and progress is None) is False:
                if not wait or progress is None:
                    yield False
                    return
                progress(0)
                time.sleep(_POLL_SECONDS)
            if not flocks.is_at(file, path):  # it was removed while we waited: the lock in force is another file
                continue
            yield True
            return
        finally:
            os.close(file)


def hold(reader: object, cache: Path) -> None:
    """Keep a cache from being removed for as long as ``reader`` lives. Call it under the key's lock."""
    with contextlib.suppress(OSError):
        file = os.open(cache / "rows.bin", os.O_RDONLY)
        flocks.lock(file, flocks.TOGETHER, wait=True)
        weakref.finalize(reader, os.close, file)


def is_held(cache: Path) -> bool:
    """Whether anybody reads a cache. Call it under the key's lock, else one who begins now is missed."""
    try:
        file = os.open(cache / "rows.bin", os.O_RDONLY)
    except OSError:
        return False
    try:
        return flocks.lock(file) is False
    finally:
        os.close(file)
