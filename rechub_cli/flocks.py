"""Locks of the operating system on open files: they die with their holder."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path
from typing import IO

ALONE, TOGETHER = fcntl.LOCK_EX, fcntl.LOCK_SH


def lock(file: int | IO[str], kind: int = ALONE, *, wait: bool = False) -> bool | None:
    """True: it is ours; False: another's; None: the file system knows no locks."""
    try:
        fcntl.flock(file, kind if wait else kind | fcntl.LOCK_NB)
    except OSError as error:
        return False if error.errno in (errno.EAGAIN, errno.EACCES) else None
    return True


def is_at(file: int, path: Path) -> bool:
    """Whether an open file is still the one at ``path``: it may have been removed, or its folder moved."""
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except OSError:
        return False
