"""``rechub cache ls`` and ``prune``: the encoded rows that trainings keep beside the runs."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rechub_cli.data.cache_locks import is_held, key_lock
from rechub_cli.errors import RechubError, UsageError
from rechub_cli.files import creating
from rechub_cli.run.events import Events
from rechub_cli.run.folder import Folder, read_object, runs_folder
from rechub_cli.workflows.amounts import parse_age, parse_size, size_text
from rechub_cli.workflows.listing import folder_size, list_runs, section

GONE = ".pruned"  # the end of a cache's name while it is being removed
_KEY = re.compile(r"[0-9a-f]{24}")


@dataclass(frozen=True, slots=True)
class Cached:
    """One cache. ``data`` are the runs that it was made for, as far as they are still there."""

    path: Path
    rows: int | None  # None: it is not whole, or being built
    bytes: int
    used: float  # when it was last opened, in seconds since 1970
    data: tuple[str, ...]  # "train of <run>: train.parquet"
    in_use: bool

    def to_json(self) -> dict[str, Any]:
        return {
            "path": str(self.path),
            "rows": self.rows,
            "bytes": self.bytes,
            "used": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.used)),
            "in_use": self.in_use,
            "data": list(self.data),
        }


def list_caches() -> list[Cached]:
    """The caches of the runs folder, the one last used first."""
    folder = Folder.scan(runs_folder())
    data = described(folder)
    found = []
    for cache in folder.caches:
        for entry in _entries(cache):
            header = entry / "header.json"
            rows, used = None, _mtime(entry)
            with contextlib.suppress(OSError, ValueError):
                count = section(read_object(header), "header").get("n_rows")
                rows, used = count if isinstance(count, int) else None, _mtime(header)
            found.append(Cached(entry, rows, folder_size(entry), used, data.get(entry.name, ()), is_held(entry)))
    return sorted(found, key=lambda one: (-one.used, one.path))


def described(folder: Folder) -> Mapping[str, tuple[str, ...]]:
    """For each key the parts of runs that it was made for, the newest run first."""
    found: dict[str, list[str]] = {}
    for run in list_runs(folder):
        for part, key in section(run.info, "cache").items():
            of = "train" if part == "encoder" else part
            files = section(section(run.info, "data"), of).get("files")
            names = [str(file) for file in files[:2]] if isinstance(files, list) else []
            more = " …" if isinstance(files, list) and len(files) > 2 else ""
            found.setdefault(str(key), []).append(f"{part} of {run.name}: {', '.join(names)}{more}")
    return {key: tuple(parts) for key, parts in found.items()}


def prune_caches(
    events: Events,
    *,
    older_than: str | None = None,
    max_size: str | None = None,
    everything: bool = False,
    dry_run: bool = False,
) -> list[Cached]:
    """Remove caches that nobody reads or builds; a later training builds what it needs anew.

    Args:
        older_than: those that were not used for so long.
        max_size: those used longest ago, until all that are left take no more than this.
        everything: all of them.

    Returns:
        what was removed, or would be.

    Raises:
        UsageError: no condition is given, or one makes no sense.
        CannotCreate: one cannot be removed.
    """
    if older_than is None and max_size is None and not everything:
        raise UsageError("say what to remove: --older-than 30d, --max-size 20GB or --all")
    caches = list_caches()
    removed = []
    for one in chosen(caches, older_than, max_size, everything):
        if one.in_use or (not dry_run and not remove(one.path)):
            text = f"{one.path} is in use: it stays"
            events.emit("message", text, {"path": str(one.path)})
            continue
        removed.append(one)
    total = size_text(sum(one.bytes for one in removed))
    text = f"{'would remove' if dry_run else 'removed'} {len(removed)} cache{'s' * (len(removed) != 1)}, {total}"
    events.emit("message", text, {"caches": len(removed), "dry_run": dry_run})
    return removed


def chosen(caches: Sequence[Cached], older_than: str | None, max_size: str | None, everything: bool) -> list[Cached]:
    """Those that any condition asks to remove, the one used longest ago first."""
    age = None if older_than is None else parse_age("--older-than", older_than).total_seconds()
    most = None if max_size is None else parse_size("--max-size", max_size)
    now, total = time.time(), sum(one.bytes for one in caches)
    found = []
    for one in reversed(caches):  # of the last one used first
        old = age is not None and now - one.used > age
        too_much = most is not None and total > most and not one.in_use
        if everything or old or too_much:
            found.append(one)
            total -= one.bytes
    return found


def remove(entry: Path) -> bool:
    """Remove a cache, or what is left of one; False where somebody builds or reads it, or was quicker."""
    if entry.name.endswith(GONE):
        shutil.rmtree(entry, ignore_errors=True)
        return True
    key = entry.with_suffix("")
    lock = key.with_suffix(".lock")
    gone = entry.with_name(f".{entry.name}.{os.getpid()}{GONE}")
    with key_lock(lock, wait=False) as ours:
        if not ours or not entry.exists() or is_held(entry):
            return False
        with creating(entry):
            entry.rename(gone)
            if not any(key.with_suffix(suffix).exists() for suffix in ("", ".tmp")):
                lock.unlink(missing_ok=True)
    shutil.rmtree(gone, ignore_errors=True)
    return True


def _entries(cache: Path) -> list[Path]:
    """Caches, unfinished ones (.tmp) and those that a prune was killed over."""
    with contextlib.suppress(OSError, RechubError):
        return [
            entry
            for entry in cache.iterdir()
            if entry.is_dir() and (_KEY.fullmatch(entry.with_suffix("").name) or entry.name.endswith(GONE))
        ]
    return []


def _mtime(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
