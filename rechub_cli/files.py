"""Files that are whole or not there: written beside their place, synced, then moved into it.

What a killed process leaves of that is ``.<name>.<pid>.tmp``, a file or a folder. A live one holds a lock on its file.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import glob
import json
import os
import shutil
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from rechub_cli.errors import CannotCreate

_C = ctypes.CDLL(None)
_WRITE = 2  # Linux's SYNC_FILE_RANGE_WRITE: to begin, not to wait

MOST_BYTES = 32 << 20  # of a file that is read as a whole: parsed, it takes some fifty times as much


@contextlib.contextmanager
def atomic(path: Path | str, mode: str = "wb", **options: Any) -> Iterator[IO[Any]]:
    """A file to write; it replaces ``path`` when the block ends well, and is removed when it does not.

    Raises:
        CannotCreate: no permission, no such folder, no space left.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with creating(path):
        try:
            with open(temporary, mode, **options) as file:
                with contextlib.suppress(OSError):
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
        sync_folder(path.parent)


def begin_writing(file: IO[bytes], start: int, stop: int) -> None:
    """Let the system begin to write these bytes of a file to the disk, so that little is waited for at its end.

    Nothing happens where this cannot be asked for, or the file is none on a disk.
    """
    if sys.platform == "linux" and hasattr(_C, "sync_file_range"):
        with contextlib.suppress(OSError, ValueError):
            _C.sync_file_range(file.fileno(), ctypes.c_int64(start), ctypes.c_int64(stop - start), _WRITE)


def is_leftover(name: str) -> bool:
    """Whether a name is that of a file or folder that was never finished."""
    return name.startswith(".") and name.endswith((".tmp", ".old"))


def remove(path: Path) -> None:
    """A file, a link or a folder with all that is in it, if that can be had."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


def sweep_beside(target: Path) -> None:
    """Remove what killed processes left of ``target``: those that are gone and hold no lock, here or elsewhere."""
    with contextlib.suppress(OSError):
        for left in target.parent.glob(f".{glob.escape(target.name)}.*.tmp"):
            pid = left.name.split(".")[-2]
            if pid.isdecimal() and not _is_alive(int(pid)) and _is_free(left):
                remove(left)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True


def _is_free(path: Path) -> bool:
    if path.is_dir():
        return True
    try:
        with open(path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


@contextlib.contextmanager
def creating(path: Path | str) -> Iterator[None]:
    """Turn the operating system's refusal to write ``path`` into a CannotCreate that names it."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.EPIPE:
            raise
        raise CannotCreate(f"cannot write {path}: {error.strerror or error}") from error


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power loss; a no-op where folders cannot be synced."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_bytes(path: Path | str, content: bytes) -> None:
    with atomic(path) as file:
        file.write(content)


def write_text(path: Path | str, text: str) -> None:
    """UTF-8; a file's name that is no text, and stands in it, is escaped."""
    with atomic(path, "w", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
        file.write(text)


def point(link: Path, target: str | Path) -> None:
    """Make or move a symbolic link, atomically: who reads it meanwhile finds the old target or the new one.

    Raises:
        CannotCreate: no permission, or a file system without links.
    """
    temporary = link.with_name(f".{link.name}.{os.getpid()}.tmp")
    with creating(link):
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(target)
        os.replace(temporary, link)
        sync_folder(link.parent)


def read_text(path: Path | str) -> str:
    """A small UTF-8 file that may be anybody's: a pipe does not make us wait, a device does not fill the memory.

    Raises:
        OSError: it cannot be read, or is no regular file.
        ValueError: it is larger than MOST_BYTES, or not UTF-8.
    """
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise ValueError(f"larger than {MOST_BYTES >> 20} MiB")
    return content.decode("utf-8")


def read_json(path: Path | str) -> Any:
    """What a small JSON file holds.

    Raises:
        OSError, ValueError: as ``read_text``; it is not JSON, or nested too deep.
    """
    try:
        return json.loads(read_text(path))
    except RecursionError as error:
        raise ValueError("nested too deep") from error
