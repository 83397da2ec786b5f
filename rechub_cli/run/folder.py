"""The folder that runs stand in: what RUN means there, which runs it has, and the links that lead to them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rechub_cli.errors import NoInput
from rechub_cli.files import read_json

DEPTH = 3  # folders below the runs folder that are looked into: runs/team/ctr/<run>
TRACES = (".lock", "events.jsonl", "checkpoints", "encoder")  # what a run has besides run.json
LATEST = "latest"


def runs_folder() -> Path:
    """``$RECHUB_RUNS_DIR``, or ``runs`` in the working directory."""
    return Path(os.environ.get("RECHUB_RUNS_DIR") or "runs")


def locate(run: str | os.PathLike[str]) -> Path:
    """The run directory that RUN means: a path, or else a name in the runs folder, such as a published one.

    A link is followed here, once: who goes on with what this returns stays with one run, even if the link is moved
    meanwhile. Where there is no run, the path comes back as it is.

    Raises:
        NoInput: the run that a link leads to is gone.
    """
    path = Path(run)
    places = [path] if path.is_absolute() else [path, runs_folder() / path]
    for place in places:
        target = Path(os.path.realpath(place)) if os.path.islink(place) else place
        if os.path.isfile(target / "run.json"):
            return target
    for place in places:
        if os.path.islink(place) and not os.path.exists(place):
            raise NoInput(f"{place} leads to {os.readlink(place)}, which is gone; publish another run under that name")
    return path


@dataclass(frozen=True, slots=True)
class Folder:
    """What a runs folder holds. Hidden entries are not looked at, links are not walked into."""

    path: Path
    runs: tuple[Path, ...]  # directories that are runs, damaged ones included
    links: Mapping[str, Path]  # ``latest`` and published names -> the run that each leads to
    caches: tuple[Path, ...]

    @classmethod
    def scan(cls, path: Path) -> Folder:
        """One that is not there, or cannot be read, is empty."""
        runs: list[Path] = []
        links: dict[str, Path] = {}
        caches: list[Path] = []
        if os.path.isdir(path):
            for entry in _walk(path, DEPTH):
                if os.path.islink(entry):
                    links[str(entry.relative_to(path))] = Path(os.path.realpath(entry))
                else:
                    (caches if entry.name == ".cache" else runs).append(entry)
        return cls(path, tuple(runs), links, tuple(caches))

    def name(self, run: Path) -> str:
        """How a run of this folder is called."""
        return str(run.relative_to(self.path))

    def names(self, run: Path) -> list[str]:
        """The links that lead to a run."""
        real = Path(os.path.realpath(run))
        return [name for name, target in self.links.items() if target == real]

    def published(self, run: Path) -> list[str]:
        """The names that a run is published under: ``latest`` is none, for it moves by itself."""
        return [name for name in self.names(run) if Path(name).name != LATEST]


def _walk(folder: Path, depth: int) -> Iterator[Path]:
    """The runs, links and caches of a folder; what cannot be read is passed by."""
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        return
    for entry in entries:
        if entry.name == ".cache" and os.path.isdir(entry):
            yield entry
        elif entry.name.startswith("."):
            continue
        elif os.path.islink(entry) or is_run(entry):
            yield entry
        elif depth and os.path.isdir(entry):
            yield from _walk(entry, depth - 1)


def is_run(path: Path) -> bool:
    """Whether a directory is a run, or what is left of one."""
    return any(os.path.exists(path / name) for name in ("run.json", *TRACES))


def read_object(path: Path) -> dict[str, Any]:
    """A JSON object. Raises OSError or ValueError."""
    found = read_json(path)
    if not isinstance(found, dict):
        raise ValueError("it is not a JSON object")
    return found
