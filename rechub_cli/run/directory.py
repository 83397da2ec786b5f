"""A run's directory: made once, locked by the one process that writes it, opened read-only by all others."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import secrets
import shutil
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from rechub_cli.errors import Busy, CannotCreate, DataError, NoInput
from rechub_cli.files import creating, write_text
from rechub_cli.run.events import finite
from rechub_cli.run.safe_text import redacted, redacted_data

FORMAT = 1  # of the directory; rises when older readers cannot read it


class Run:
    """One run directory. ``info`` is the content of ``run.json``."""

    def __init__(self, path: Path, info: dict[str, Any]) -> None:
        self.path = path
        self.info = info
        self._lock: IO[str] | None = None
        self._replaced: Path | None = None  # the run that --overwrite moved aside
        self._made_parents: list[Path] = []
        self._had_cache = self.cache.exists()
        self._turn = threading.RLock()  # of the heartbeat and of the command

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def cache(self) -> Path:
        """Encoded rows, shared by the runs of one folder."""
        return self.path.parent / ".cache"

    @classmethod
    def create(
        cls,
        output: str | None,
        model: str,
        *,
        runs_dir: str = "runs",
        overwrite: bool = False,
        wait: float = 0,
        argv: Sequence[str] = (),
    ) -> Run:
        """A new, empty, locked directory: ``output``, or ``runs_dir/<UTC second>-<model>-<6 hex>``.

        Raises:
            CannotCreate: it exists and is not empty (without ``overwrite``), or cannot be made.
            Busy: ``overwrite`` of a run that a live process is writing.
        """
        path = Path(output) if output else Path(runs_dir) / new_name(model)
        check_output(output, overwrite, wait)
        run = cls(path, {})
        with creating(path):
            run._made_parents = [folder for folder in path.absolute().parents if not folder.exists()]
            path.mkdir(parents=True, exist_ok=output is not None)
            run._take_lock(wait, argv)
            if run._is_taken():
                try:
                    check_output(output, overwrite, wait, locked=True)  # it may have come since we last looked
                    run._move_aside()
                    path.mkdir()
                finally:
                    run.close()
                run._take_lock(0, argv)
        started = datetime.now(UTC)
        run.update(
            format=FORMAT, run=run.name, status="running", argv=list(argv), pid=os.getpid(), started=iso(started)
        )
        return run

    @classmethod
    def open(cls, path: str | Path) -> Run:
        """An existing run, to read only; nothing is locked or written.

        Raises:
            NoInput: there is no run at ``path``.
            DataError: its ``run.json`` is damaged or of a later format.
        """
        path = Path(path)
        file = path / "run.json"
        try:
            info = json.loads(file.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError) as error:
            found = "has no run.json" if path.exists() else "does not exist"
            raise NoInput(f"{path} is not a run directory: it {found}") from error
        except (OSError, ValueError) as error:
            raise DataError(f"{file} cannot be read: {error}; restore it or train again") from error
        if not isinstance(info, dict) or not isinstance(info.get("format"), int):
            raise DataError(f"{file} is damaged: it is not the record of a run; restore it or train again")
        if info["format"] > FORMAT:
            raise DataError(
                f"{path} was written by a later rechub (format {info['format']}, known {FORMAT}): update rechub"
            )
        return cls(path, info)

    def update(self, **changes: Any) -> None:
        """Change ``run.json``, atomically; secrets are taken out at this door."""
        with self._turn:
            self.info.update(changes)
            data, nonfinite = finite(redacted_data(self.info))
            data |= {"nonfinite": nonfinite} if nonfinite else {}
            write_text(self.path / "run.json", json.dumps(data, indent=2))

    def finish(self, status: str, exit_code: int, **changes: Any) -> None:
        """The run's last word: status done | failed | interrupted. A done run becomes ``latest``."""
        self.update(status=status, exit=exit_code, ended=iso(datetime.now(UTC)), **changes)
        if self._replaced:
            shutil.rmtree(self._replaced, ignore_errors=True)
        if status == "done":
            self._point_latest()
        self.close()

    def discard(self) -> None:
        """Undo ``create``: nothing was trained, so nothing stays; a run moved aside comes back."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._replaced:
            self._replaced.rename(self.path)
        if not self._had_cache and not any(self.path.parent.glob("*/run.json")):  # other runs may be reading it
            shutil.rmtree(self.cache, ignore_errors=True)
        for folder in self._made_parents:
            with contextlib.suppress(OSError):
                folder.rmdir()
        self.close()

    def close(self) -> None:
        if self._lock:
            self._lock.close()
            self._lock = None

    def _is_taken(self) -> bool:
        return any(entry.name != ".lock" for entry in self.path.iterdir())

    def _move_aside(self) -> None:
        self._replaced = self.path.with_name(f".{self.path.name}.{os.getpid()}.replaced")
        self.path.rename(self._replaced)

    def _take_lock(self, wait: float, argv: Sequence[str]) -> None:
        place = self.path / ".lock"
        lock = open(place, "a+", encoding="utf-8", errors="backslashreplace")  # noqa: SIM115 (held until close)
        deadline = time.monotonic() + wait
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if error.errno not in (errno.EAGAIN, errno.EACCES):
                    break  # a file system without locks: go on without
                if time.monotonic() >= deadline:
                    lock.seek(0)
                    holder = lock.read()
                    lock.close()
                    raise busy(self.path, holder) from error
            time.sleep(0.2)
        lock.truncate(0)
        command = " ".join(["rechub", *argv[1:]])
        lock.write(f"pid {os.getpid()} on {socket.gethostname()} since {datetime.now(UTC):%H:%M} UTC ({command})\n")
        lock.flush()
        self._lock = lock

    def _point_latest(self) -> None:
        latest = self.path.parent / "latest"
        if latest.exists() and not latest.is_symlink():
            return
        temporary = self.path.parent / f".latest.{os.getpid()}.tmp"
        with contextlib.suppress(OSError):  # a file system without links: `latest` is a convenience
            temporary.unlink(missing_ok=True)
            temporary.symlink_to(self.name)
            os.replace(temporary, latest)


def check_output(output: str | None, overwrite: bool, wait: float = 0, *, locked: bool = False) -> None:
    """Find out before any work whether a run can be created at ``output``.

    Args:
        wait: seconds that a live process may still take to be done with it.
        locked: by ourselves.

    Raises:
        CannotCreate: it is a file, or a folder that is not empty (without ``overwrite``, or not a run).
        Busy: a live process writes it.
    """
    if output is None:
        return
    path = Path(output)
    with creating(path):
        if path.is_dir():
            if not any(path.iterdir()):
                return
            if not wait and not locked and (holder := holder_of(path)):
                raise busy(path, holder)
            if not overwrite:
                raise CannotCreate(f"{path} exists and is not empty; use --overwrite or another -o")
            if path.is_symlink():
                raise CannotCreate(f"{path} is a link, so --overwrite leaves it alone; use another -o")
            if not (path / "run.json").is_file():
                raise CannotCreate(f"{path} is not a run directory, so --overwrite leaves it alone; use another -o")
        elif path.exists() or path.is_symlink():
            raise CannotCreate(f"{path} is a file; -o names the run's directory")


def holder_of(path: Path) -> str | None:
    """Who writes the run at ``path`` now, in words; None where nobody does, or nobody can tell."""
    with contextlib.suppress(FileNotFoundError, PermissionError), open(path / ".lock", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return lock.read()
    return None


def busy(path: Path, holder: str) -> Busy:
    return Busy(f"run {path} is in use by {holder.strip() or 'another process'}; use --wait 600 or another -o")


def new_name(model: str) -> str:
    """``20261122T101530Z-deepfm-3f9a2c``"""
    stem = re.sub(r"[^A-Za-z0-9_]+", "_", re.split(r"[:/]", model)[-1]).strip("_").lower() or "model"
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{stem}-{secrets.token_hex(3)}"


def iso(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def describe_failure(error: BaseException) -> Mapping[str, str]:
    """How ``run.json`` records what went wrong."""
    return {"type": type(error).__name__, "message": redacted(str(error))}
