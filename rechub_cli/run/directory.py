"""A run's directory: made once, locked by the one process that writes it, opened read-only by all others."""

from __future__ import annotations

import contextlib
import glob
import json
import os
import re
import secrets
import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rechub_cli.errors import CannotCreate, DataError, NoInput
from rechub_cli.files import creating, is_leftover, point, read_json, remove, sweep_beside, write_text
from rechub_cli.run import lock
from rechub_cli.run.contents import check_contents
from rechub_cli.run.events import finite
from rechub_cli.run.folder import LATEST, Folder, locate, runs_folder
from rechub_cli.run.safe_text import redacted, redacted_data

FORMAT = 1  # of the directory; rises when older readers cannot read it


class Run:
    """One run directory. ``info`` is the content of ``run.json``."""

    def __init__(self, path: Path, info: dict[str, Any]) -> None:
        self.path = path
        self.info = info
        self._lock: lock.Lock | None = None
        self._replaced: list[Path] = []  # runs that --overwrite moved aside, the newest last
        self._made_parents: list[Path] = []
        self._had_cache = self.cache.exists()
        self._turn = threading.RLock()  # of the heartbeat and of the command

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def locks(self) -> bool:
        """False where the file system has no locks, so that nobody is kept from writing this run too."""
        return self._lock is None or self._lock.trusted

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
        check: Callable[[], None] = lambda: None,
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
            if output is None:
                path.mkdir(parents=True)
            run._lock = lock.Lock.take(path, wait, argv, check)
            if is_taken(path):
                try:
                    check_output(output, overwrite, wait, locked=True)  # it may have come since we last looked
                    run._move_aside()
                finally:
                    run.close()
                run._lock = lock.Lock.take(path, 0, argv)
            run.sweep()
        try:
            run.update(**run.begun(argv))
        except CannotCreate:
            run.discard()
            raise
        return run

    @classmethod
    def reopen(
        cls, path: Path, *, wait: float = 0, argv: Sequence[str] = (), check: Callable[[], None] = lambda: None
    ) -> Run:
        """An existing run, locked, to go on with.

        Raises:
            Busy: a live process writes it.
            NoInput, DataError: as ``open``.
        """
        with creating(path):
            held = lock.Lock.take(path, wait, argv, check)
        try:
            run = cls.open(path)
        except BaseException:
            held.release()
            raise
        run._lock = held
        return run

    def begun(self, argv: Sequence[str]) -> dict[str, Any]:
        """What ``run.json`` says of a training that begins now."""
        now = iso(datetime.now(UTC))
        return {
            "format": FORMAT,
            "run": self.name,
            "status": "running",
            "argv": list(argv),
            "pid": os.getpid(),
            "started": now,
        }

    def resume(self, argv: Sequence[str]) -> None:
        """Write down that training goes on."""
        started = self.info.get("started")
        for name in ("exit", "ended", "error"):
            self.info.pop(name, None)
        again = [*self.info.get("resumed", []), iso(datetime.now(UTC))]
        self.update(**{**self.begun(argv), "started": started, "resumed": again})

    def clear(self, argv: Sequence[str]) -> None:
        """Start over in the same directory; only the logs stay."""
        for entry in self.path.iterdir():
            if entry.name not in (lock.NAME, "run.json", "events.jsonl", "train.log"):
                remove(entry)
        self.info = {}
        self.update(**self.begun(argv))

    def sweep(self) -> None:
        """Remove what a process that was killed left; we hold the lock. A run that it moved aside is ours to keep."""
        for folder in (self.path, *(path for path in self.path.rglob("*") if path.is_dir())):
            for entry in folder.iterdir() if folder.exists() else ():
                if is_leftover(entry.name):
                    remove(entry)
        aside = self.path.parent.glob(f".{glob.escape(self.name)}.*.replaced")
        own = {path for path in aside if path.name.removeprefix(f".{self.name}.").split(".")[0].isdecimal()}
        others = sorted(own - set(self._replaced), key=lambda path: path.stat().st_mtime)
        self._replaced = [*others, *self._replaced]

    @classmethod
    def open(cls, path: str | Path) -> Run:
        """An existing run, to read only; nothing is locked or written. ``path`` may be a name, see ``locate``.

        Raises:
            NoInput: there is no run at ``path``.
            DataError: its ``run.json`` is damaged or of a later format.
        """
        path = locate(path)
        file = path / "run.json"
        try:
            check_contents(path)
            info = read_json(file)
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
        for replaced in self._replaced:
            remove(replaced)
        if status == "done":
            self._point_latest()
        self.close()

    def discard(self) -> None:
        """Undo ``create``: nothing was trained, so nothing stays; a run moved aside comes back."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._replaced:
            self._replaced[-1].rename(self.path)
        if not self._had_cache and not any(self.path.parent.glob("*/run.json")):  # other runs may be reading it
            shutil.rmtree(self.cache, ignore_errors=True)
        for folder in self._made_parents:
            with contextlib.suppress(OSError):
                folder.rmdir()
        self.close()

    def close(self) -> None:
        if self._lock:
            self._lock.release()
            self._lock = None

    def _move_aside(self) -> None:
        aside = self.path.with_name(f".{self.path.name}.{os.getpid()}.replaced")
        self.path.rename(aside)
        self._replaced.append(aside)

    def _point_latest(self) -> None:
        latest = self.path.parent / LATEST
        if latest.exists() and not latest.is_symlink():
            return
        sweep_beside(latest)
        with contextlib.suppress(CannotCreate):  # a file system without links: `latest` is a convenience
            point(latest, self.name)


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
            if not wait and not locked and (holder := lock.holder_of(path)):
                raise lock.busy(path, holder)
            if not is_taken(path):
                return
            if not overwrite:
                raise CannotCreate(f"{path} exists and is not empty; use --overwrite or another -o")
            if path.is_symlink():
                raise CannotCreate(f"{path} is a link, so --overwrite leaves it alone; use another -o")
            if not (path / "run.json").is_file():
                raise CannotCreate(f"{path} is not a run directory, so --overwrite leaves it alone; use another -o")
            if names := Folder.scan(runs_folder()).published(path):
                raise CannotCreate(f"{path} is published as {names[0]}, so --overwrite leaves it alone; use another -o")
        elif path.exists() or path.is_symlink():
            raise CannotCreate(f"{path} is a file; -o names the run's directory")


def is_taken(path: Path) -> bool:
    """Whether a folder holds more than the traces of a run that was killed before it began."""
    return any(entry.name != lock.NAME and not is_leftover(entry.name) for entry in path.iterdir())


def new_name(model: str) -> str:
    """``20261122T101530Z-deepfm-3f9a2c``"""
    stem = re.sub(r"[^A-Za-z0-9_]+", "_", re.split(r"[:/]", model)[-1]).strip("_").lower() or "model"
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{stem}-{secrets.token_hex(3)}"


def iso(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def describe_failure(error: BaseException) -> Mapping[str, str]:
    """How ``run.json`` records what went wrong."""
    return {"type": type(error).__name__, "message": redacted(str(error))}
