"""``rechub publish``: the run to serve from, as a link that is moved atomically and can be moved back.

    runs/ctr/prod                  a link to the run
    runs/ctr/prod.history.json     who moved it when, and what stood there before

The link is the truth. The history is written before the link is moved: a process that dies between the two
leaves the old run in force, and the next one goes by the link.
"""

from __future__ import annotations

import getpass
import json
import os
import re
import socket
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rechub_cli.errors import CannotCreate, CheckFailed, DataError, NoInput, UsageError
from rechub_cli.files import creating, point, write_text
from rechub_cli.run.directory import Run, iso
from rechub_cli.run.events import Events
from rechub_cli.run.folder import LATEST, is_run, read_object, runs_folder
from rechub_cli.run.locks import folder_lock
from rechub_cli.run.reading import verify_checkpoint

HISTORY = ".history.json"
FORMAT = 1
MOST = 1000  # entries of a history, so that a link moved every few minutes does not grow a file for ever
_PART = re.compile(r"[A-Za-z0-9][\w.-]*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Published:
    """What a name leads to now. Runs are named by their place in the runs folder, or by their path."""

    name: str
    link: Path
    run: str
    previous: str | None  # where --rollback goes
    replaced: str | None  # what stood there before this command; the same run where nothing changed

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "path": str(self.link),
            "run": self.run,
            "previous": self.previous,
            "replaced": self.replaced,
        }


@dataclass(slots=True)
class Pointer:
    """A published name: its link, and its history. ``stack`` ends with the run in force."""

    name: str
    folder: Path
    stack: list[str]
    history: list[dict[str, Any]]

    @property
    def link(self) -> Path:
        return self.folder / self.name

    @classmethod
    def read(cls, folder: Path, name: str) -> Pointer:
        """Raises DataError where its history is damaged."""
        file = folder / (name + HISTORY)
        try:
            found = read_object(file)
            stack, history = [str(run) for run in found["stack"]], list(found["history"])
        except FileNotFoundError:
            stack, history = [], []
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{file} is damaged ({error}); restore it, or move it away to begin a new history"
            ) from error
        pointer = cls(name, folder, stack, history)
        now = pointer.now()
        if now is None:
            pointer.stack = []
        elif now in stack:  # what is after it was never, or is no longer, in force
            del stack[len(stack) - stack[::-1].index(now) :]
        else:
            stack.append(now)
        return pointer

    def now(self) -> str | None:
        """The run that the link leads to."""
        if not self.link.is_symlink():
            return None
        return reference(Path(os.path.realpath(self.link)), self.folder)

    def move(self, stack: list[str], action: str) -> None:
        """Write down who does what, then move the link to the run that ends ``stack``."""
        run, before = stack[-1], self.stack[-1] if self.stack else None
        entry = {"at": iso(datetime.now(UTC)), "by": whoami(), "action": action, "run": run, "replaced": before}
        self.stack, self.history = stack[-MOST:], [*self.history, entry][-MOST:]
        with creating(self.link):
            self.link.parent.mkdir(parents=True, exist_ok=True)
        content = {"v": FORMAT, "name": self.name, "stack": self.stack, "history": self.history}
        write_text(self.folder / (self.name + HISTORY), json.dumps(content, indent=2))
        target = Path(os.path.realpath(self.folder / run))
        inside = not Path(run).is_absolute()
        point(self.link, os.path.relpath(target, os.path.realpath(self.link.parent)) if inside else target)


def publish(run: str | None, name: str | None, events: Events, *, rollback: bool = False) -> Published:
    """Make ``name`` lead to ``run``, or back to the run before.

    Raises:
        UsageError: no such name can be; a run and ``rollback`` are both asked for, or neither.
        CheckFailed: the run is not done, or there is nothing to go back to.
        NoInput, DataError: the run, or its best checkpoint, is missing or damaged.
        CannotCreate: something else stands at that place.
        Busy: another process has been at it for a minute.
    """
    folder = runs_folder()
    link = check_name(name, folder)
    assert name is not None
    if (run is None) != rollback:
        raise UsageError("--rollback needs no RUN" if rollback else "RUN is required (a run directory), or --rollback")
    target = None if run is None else check_ready(run)
    with folder_lock(folder):
        check_place(link)
        pointer = Pointer.read(folder, name)
        before = pointer.stack[-1] if pointer.stack else None
        if target is not None:
            wanted = reference(target, folder)
            check_ready(str(target), deep=False)  # it may have been removed since
            if wanted != before:
                pointer.move([*pointer.stack, wanted], "publish")
        elif len(pointer.stack) < 2:
            raise CheckFailed(f"{name} has no earlier run to go back to" if before else f"{name} is not published")
        else:
            check_ready(str(folder / pointer.stack[-2]))
            pointer.move(pointer.stack[:-1], "rollback")
    previous = pointer.stack[-2] if len(pointer.stack) > 1 else None
    done = Published(name, link, pointer.stack[-1], previous, before)
    was = "" if before is None else ", as before" if before == done.run else f", before {before}"
    events.emit("output.written", f"{link} is {done.run}{was}", done.to_json())
    return done


def published_runs(folder: Path, names: list[str]) -> dict[str, list[str]]:
    """For each published name the runs that must stay: the one in force, and the one that --rollback goes to."""
    return {name: Pointer.read(folder, name).stack[-2:] for name in names if os.path.basename(name) != LATEST}


def check_name(name: str | None, folder: Path) -> Path:
    """Where the link is. Raises UsageError."""
    if name is None:
        raise UsageError("--as is required (the name to publish under, such as ctr/prod)")
    parts = name.split("/")
    if not all(_PART.fullmatch(part) for part in parts) or len(parts) > 3 or parts[-1].endswith(HISTORY):
        raise UsageError(f"--as {name!r} is no name: use letters, digits, '-', '_' and '.', and at most two '/'")
    if parts[-1] == LATEST:
        raise UsageError(f"--as {name}: {LATEST} is the last run that was done, and moves by itself")
    return folder / name


def check_place(link: Path) -> None:
    """Raises CannotCreate where a link cannot be: something else stands there, or it would be inside a run."""
    if not link.is_symlink() and link.exists():
        raise CannotCreate(f"{link} exists and is no published name; use another --as")
    parent = link.parent
    if parent.is_symlink() or is_run(parent):
        raise CannotCreate(f"{parent} is a run or leads to one; use another --as")


def check_ready(run: str, *, deep: bool = True) -> Path:
    """The directory of a run that can be served from.

    Raises:
        CheckFailed: it is not done.
        NoInput, DataError: it is missing or damaged; ``deep`` reads its weights to find out.
    """
    found = Run.open(run)
    status = found.info.get("status")
    if status != "done":
        raise CheckFailed(f"{run} is not published: its training is {status}, not done")
    if deep:
        verify_checkpoint(found.path)
        if not (found.path / "encoder").is_dir():
            raise NoInput(f"{found.path / 'encoder'} is missing: the run is incomplete; restore it or train again")
    return Path(os.path.realpath(found.path))


def reference(run: Path, folder: Path) -> str:
    """A run's place in the folder, so that the folder can be moved; else its path."""
    root = Path(os.path.realpath(folder))
    return str(run.relative_to(root)) if run.is_relative_to(root) else str(run)


def whoami() -> str:
    try:
        user = getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container may run under a number without a name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"
