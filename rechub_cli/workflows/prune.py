"""``rechub runs prune``: runs that nobody needs, removed; those that somebody may need stay."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rechub_cli.errors import UsageError
from rechub_cli.files import creating
from rechub_cli.run.events import Events
from rechub_cli.run.folder import Folder, runs_folder
from rechub_cli.run.lock import holder_of
from rechub_cli.run.locks import folder_lock
from rechub_cli.workflows.amounts import parse_age, size_text
from rechub_cli.workflows.listing import STATUSES, Listed, list_runs
from rechub_cli.workflows.publish import published_runs

USUAL = ("done", "failed", "interrupted", "died")  # what is damaged is removed only where that is asked for
RECENT = 600.0  # seconds since its last event in which a run that seems dead is left alone
GONE = ".pruned"  # the end of a run's name while it is being removed


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was removed, or would be."""

    removed: list[dict[str, Any]]
    kept: list[dict[str, Any]]  # with the reason
    dry_run: bool

    def to_json(self) -> dict[str, Any]:
        return {
            "removed": self.removed,
            "kept": self.kept,
            "bytes": sum(run["bytes"] for run in self.removed),
            "dry_run": self.dry_run,
        }


def prune_runs(
    events: Events,
    *,
    keep: int | None = None,
    older_than: str | None = None,
    status: str | None = None,
    dry_run: bool = False,
) -> Pruned:
    """Remove the runs that all conditions hold for, but for those that are needed.

    Args:
        keep: the newest so many of these runs stay.
        older_than: only runs that began so long ago.
        status: only runs of these statuses, by default all but those that run or are damaged.

    Raises:
        UsageError: no condition is given, or one makes no sense.
        DataError: the history of a published name is damaged, so nobody knows what --rollback needs.
        CannotCreate: a run cannot be removed.
    """
    wanted = check(keep, older_than, status)
    age = None if older_than is None else parse_age("--older-than", older_than)
    path = runs_folder()
    removed: list[dict[str, Any]] = []
    kept: list[dict[str, Any]] = []
    if not path.is_dir():
        return Pruned(removed, kept, dry_run)
    going: list[Path] = []
    with contextlib.nullcontext() if dry_run else folder_lock(path):
        folder = Folder.scan(path)
        needed = reasons(folder)
        count = 0
        for run in list_runs(folder):
            if run.status not in wanted:
                continue
            count += 1
            young = age is not None and datetime.now(UTC) - run.started < age
            if keep is not None and count <= keep:
                reason: str | None = f"among the {keep} newest"
            elif young:
                reason = f"younger than {older_than}"
            else:
                reason = why_kept(run, needed)
            if reason is not None:
                kept.append({"name": run.name, "reason": reason})
                continue
            size = run.size()
            if not dry_run:
                place = move_aside(run.path)
                if place is None:
                    kept.append({"name": run.name, "reason": "is in use"})
                    continue
                going.append(place)
            removed.append({"name": run.name, "path": str(run.path), "status": run.status, "bytes": size})
    for place in [*going, *([] if dry_run else leftovers(path))]:
        shutil.rmtree(place, ignore_errors=True)
    total = size_text(sum(run["bytes"] for run in removed))
    text = f"{'would remove' if dry_run else 'removed'} {len(removed)} run{'s' * (len(removed) != 1)}, {total}"
    events.emit("message", text, {"runs": len(removed), "dry_run": dry_run})
    return Pruned(removed, kept, dry_run)


def check(keep: int | None, older_than: str | None, status: str | None) -> tuple[str, ...]:
    """The statuses to look at. Raises UsageError."""
    if keep is None and older_than is None and status is None:
        raise UsageError("say what to remove: --keep N, --older-than 30d or --status failed,interrupted")
    if keep is not None and keep < 0:
        raise UsageError(f"--keep is {keep}; it must be 0 or more")
    if status is None:
        return USUAL
    wanted = tuple(word.strip() for word in status.split(",") if word.strip())
    known = [one for one in STATUSES if one != "running"]
    for word in wanted:
        if word not in known:
            raise UsageError(f"--status {word!r}: it can be {', '.join(known)}")
    return wanted


def reasons(folder: Folder) -> dict[Path, str]:
    """Runs that must stay: those that links lead to, and those that --rollback would go to."""
    found = {target: f"is {name}" for name, target in folder.links.items()}
    for name, runs in published_runs(folder.path, list(folder.links)).items():
        for run, role in zip(reversed(runs), ("is published as", "was published before as"), strict=False):
            found[Path(os.path.realpath(folder.path / run))] = f"{role} {name}"
    return found


def why_kept(run: Listed, needed: dict[Path, str]) -> str | None:
    """Why a run stays whatever was asked; None where it may go."""
    real = Path(os.path.realpath(run.path))
    for path, reason in needed.items():
        if path == real or path.is_relative_to(real):
            return reason
    holder = holder_of(run.path)
    if holder is not None:
        return f"is in use by {holder.strip() or 'another process'}"
    if run.status == "died" and signs_of_life(run.path):
        return "died just now, or is written by a machine whose locks are not seen here"
    return None


def signs_of_life(run: Path) -> bool:
    """A training writes an event every few seconds."""
    with contextlib.suppress(OSError):
        return time.time() - (run / "events.jsonl").stat().st_mtime < RECENT
    return False


def move_aside(run: Path) -> Path | None:
    """Out of sight at once, for removing all files takes longer; None where somebody has just taken its lock.

    Raises:
        CannotCreate: no permission.
    """
    target = run.with_name(f".{run.name}.{os.getpid()}{GONE}")
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(FileNotFoundError):
            lock = stack.enter_context(open(run / ".lock"))
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return None
        with creating(run):
            run.rename(target)
    return target


def leftovers(folder: Path) -> list[Path]:
    """What another prune was killed over."""
    return [Path(parent, name) for parent, names, _ in os.walk(folder) for name in names if name.endswith(GONE)]
