"""What stands beside a file of vectors: which model made them, and how they are to be compared."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rechub_cli.errors import DataError, NoInput
from rechub_cli.files import read_json, sweep_beside, write_text

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Manifest:
    """Facts of one export; the same vectors give the same bytes."""

    mode: str  # user | item
    model: str
    run: str
    encoder: str  # hash
    weights: str  # sha256
    id_column: str
    id_type: str
    dim: int
    rows: int
    normalized: bool  # every vector has length 1
    temperature: float  # the model's logit is the inner product over this
    interests: int | None = None  # most vectors of one user, where there can be several
    data_until: str | None = None  # the newest event that the model or a history has seen
    metric: str = "ip"
    dtype: str = "float32"
    files: list[dict[str, Any]] = field(default_factory=list)  # name, rows, sha256
    index: dict[str, Any] | None = None

    def save(self, target: Path) -> Path:
        """Write it beside ``target``; returns its path."""
        path = beside(target)
        sweep_beside(path)
        write_text(path, json.dumps({"format": FORMAT, **asdict(self)}, indent=2, ensure_ascii=False) + "\n")
        return path

    @classmethod
    def of(cls, target: Path) -> Manifest:
        """The manifest of a file of vectors.

        Raises:
            NoInput: there is none, or a file that it names is missing.
            DataError: it is damaged, a file is not the one it names, or there is one that it does not name.
        """
        path = beside(target)
        try:
            facts = read_json(path)
            if facts.pop("format") != FORMAT:
                raise DataError(f"{path} is of another format than {FORMAT}, which this rechub reads: update rechub")
            manifest = cls(**facts)
            files = {target.parent / file["name"]: file["sha256"] for file in manifest.files}
            if any(os.path.isabs(file["name"]) or ".." in Path(file["name"]).parts for file in manifest.files):
                raise ValueError("it names a file that is not beside it")
        except FileNotFoundError as error:
            raise NoInput(f"{path} is missing: it tells which model the vectors are of; embed again") from error
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{path} is damaged ({error}); embed again") from error
        for file, wanted in files.items():
            if not file.is_file():
                raise NoInput(f"{file} is missing, which {path} names; embed again")
            if _hash(file) != wanted:
                raise DataError(f"{file} is not the file that {path} describes; embed again")
        for file in sorted(target.glob("part-*")) if target.is_dir() else [target]:
            if file not in files:
                raise DataError(f"{path} does not name {file.name}; embed again")
        return manifest


def beside(target: Path) -> Path:
    """``items.parquet`` -> ``items.parquet.manifest.json``"""
    return target.with_name(f"{target.name}.manifest.json")


def described(target: Path, rows: dict[Path, int]) -> list[dict[str, Any]]:
    """The files of an export, for its manifest."""
    return [
        {"name": path.relative_to(target.parent).as_posix(), "rows": n, "sha256": _hash(path)}
        for path, n in rows.items()
    ]


def _hash(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
