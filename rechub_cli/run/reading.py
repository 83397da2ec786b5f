"""Reading a checkpoint: what ``best`` and ``last`` name, and its files, checked against the manifest."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rechub_cli.errors import DataError, NoInput
from rechub_cli.files import read_json, read_text

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Pointer = Literal["best", "last"]


def read_pointer(run: Path, pointer: Pointer | str) -> str | None:
    """The name of the checkpoint that ``best`` or ``last`` names; None where there is none."""
    try:
        name = read_text(run / pointer).strip()
    except (OSError, ValueError):
        return None
    return name if order_of(name) else None


def order_of(name: str) -> tuple[int, int, str] | None:
    """By which the names of checkpoints are older and newer: the step, and how often it was saved."""
    found = re.fullmatch(r"step-(\d{1,18})(?:-(\d{1,9}))?", name)
    return (int(found[1]), int(found[2] or 1), name) if found else None


def read_state(run: Path, name: str) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The weights of checkpoint ``name``, and the state that ``save`` was given: data, nothing of it trusted yet.

    Raises:
        NoInput, DataError: as ``read_checkpoint``.
    """
    folder = run / "checkpoints" / name
    path = folder / "state.json"
    verified(folder, ["model.safetensors", "state.safetensors", "state.json"])
    rest = stored_json(path)
    if not isinstance(rest, dict):
        raise DataError(f"{path} is damaged: it is not a mapping; restore it or train again")
    return load_tensors(folder / "model.safetensors"), {**rest, **load_tensors(folder / "state.safetensors")}


def read_checkpoint(run: Path, pointer: Pointer = "best") -> dict[str, torch.Tensor]:
    """The weights of a run's checkpoint, after its manifest was checked.

    Raises:
        NoInput: the run has no such checkpoint.
        DataError: a file is missing, was changed or cut short.
    """
    name = read_pointer(run, pointer)
    if name is None:
        raise NoInput(f"{run} has no finished checkpoint: its training did not get that far; train again")
    folder = run / "checkpoints" / name
    verified(folder, ["model.safetensors"])
    return load_tensors(folder / "model.safetensors")


def verify_checkpoint(run: Path, pointer: Pointer = "best") -> None:
    """Raises NoInput, DataError as ``read_checkpoint`` does; nothing is loaded."""
    name = read_pointer(run, pointer)
    if name is None:
        raise NoInput(f"{run} has no finished checkpoint: its training did not get that far; train again")
    verified(run / "checkpoints" / name, ["model.safetensors"])


def read_shapes(run: Path, name: str) -> dict[str, tuple[int, ...]]:
    """The shapes of the weights of checkpoint ``name``, without reading them.

    Raises:
        NoInput, DataError: as ``read_checkpoint``.
    """
    from safetensors import SafetensorError, safe_open

    path = run / "checkpoints" / name / "model.safetensors"
    try:
        with safe_open(path, "pt") as file:
            return {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118 (no mapping)
    except FileNotFoundError as error:
        raise NoInput(f"{path} is missing: the checkpoint is incomplete; restore it or train again") from error
    except (SafetensorError, OSError) as error:
        raise DataError(f"{path} cannot be read: {error}; restore it or train again") from error


def read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / "manifest.json"
    if not path.exists():
        raise NoInput(f"{path} is missing: the checkpoint is incomplete; restore it or train again")
    manifest = stored_json(path)
    files = manifest.get("files") if isinstance(manifest, dict) else None
    if not isinstance(files, dict) or not all(isinstance(facts, dict) for facts in files.values()):
        raise DataError(f"{path} is damaged: it is not a manifest; restore it or train again")
    if manifest.get("format") != 1:
        raise DataError(f"{path} is of format {manifest.get('format')!r}; this rechub reads format 1: update rechub")
    best = manifest.get("best")
    if best is not None and not (isinstance(best, str) and order_of(best)):
        raise DataError(f"{path} is damaged: best is no name of a checkpoint; restore it or train again")
    return manifest


def stored_json(path: Path) -> Any:
    """What a JSON file of a run holds. Raises DataError where it is none, or not within reason."""
    try:
        return read_json(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is damaged ({error}); restore it or train again") from error


def verified(folder: Path, names: Sequence[str]) -> dict[str, Any]:
    """The manifest, once the files that it names are found to be those that were written."""
    manifest = read_manifest(folder)
    for name in names:
        path = folder / name
        if not path.is_file():
            raise NoInput(f"{path} is missing: the checkpoint is incomplete; restore it or train again")
        if fingerprint(path) != manifest["files"].get(name):
            raise DataError(f"{path} is damaged: it is not the file that training wrote; restore it or train again")
    return manifest


def fingerprint(path: Path) -> dict[str, Any]:
    with open(path, "rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def load_tensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError, MemoryError, OverflowError) as error:
        raise DataError(f"{path} cannot be read: {error}; restore it or train again") from error
