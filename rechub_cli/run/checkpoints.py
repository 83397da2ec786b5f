"""Checkpoints: weights and training state as safetensors and JSON; nothing in them can run code.

    checkpoints/step-0003907/{model.safetensors, state.safetensors, state.json, manifest.json}
    best, last           one line each: the name of a checkpoint

The manifest holds the size and SHA-256 of the other files and is written after them, the pointers after
the manifest: a process that dies anywhere leaves the previous checkpoint in force.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rechub_cli.errors import DataError, NoInput
from rechub_cli.files import creating, read_json, read_text, sync_folder, write_text

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

Pointer = Literal["best", "last"]


class Checkpoints:
    """The checkpoints of one run; keeps those that ``best`` and ``last`` point to."""

    def __init__(self, run: Path) -> None:
        self.run = run
        self.folder = run / "checkpoints"

    def save(
        self,
        step: int,
        epoch: int,
        model: nn.Module,
        state: Mapping[str, Any],
        metrics: Mapping[str, float],
        best: bool,
    ) -> None:
        """Write one checkpoint and point ``last`` (and ``best``) to it.

        ``state`` maps flat names to tensors and JSON values: all that a resumed training needs.
        """
        target = self._free_name(step)
        with creating(target):
            self._write(target, step, epoch, model, state, metrics)
        for pointer in ("last", "best") if best else ("last",):
            write_text(self.run / pointer, target.name + "\n")
        self._sweep()

    def _free_name(self, step: int) -> Path:
        """A step saved again (say, at the end of its epoch) gets a name of its own: the old one stays until then."""
        for again in itertools.count(1):
            target = self.folder / (f"step-{step:07d}" + (f"-{again}" if again > 1 else ""))
            if not target.exists():
                break
        return target

    def _write(
        self,
        target: Path,
        step: int,
        epoch: int,
        model: nn.Module,
        state: Mapping[str, Any],
        metrics: Mapping[str, float],
    ) -> None:
        import torch

        building = target.with_name(f".{target.name}.tmp")
        shutil.rmtree(building, ignore_errors=True)
        building.mkdir(parents=True)
        tensors = {key: value for key, value in state.items() if isinstance(value, torch.Tensor)}
        _save_tensors(building / "model.safetensors", plain_state_dict(model))
        _save_tensors(building / "state.safetensors", tensors)
        rest = {key: value for key, value in state.items() if key not in tensors}
        write_text(building / "state.json", json.dumps(rest))
        manifest = {
            "format": 1,
            "step": step,
            "epoch": epoch,
            "metrics": dict(metrics),
            "files": {path.name: _fingerprint(path) for path in sorted(building.iterdir())},
        }
        write_text(building / "manifest.json", json.dumps(manifest, indent=2))
        building.rename(target)
        sync_folder(target.parent)

    def _sweep(self) -> None:
        kept = {name for pointer in ("best", "last") if (name := read_pointer(self.run, pointer))}
        for folder in self.folder.iterdir():
            if folder.name not in kept:
                shutil.rmtree(folder, ignore_errors=True)

    def load_best(self, model: nn.Module) -> None:
        """Put the weights of the best checkpoint into ``model``."""
        weights = read_checkpoint(self.run, "best")
        getattr(model, "module", model).load_state_dict(weights)


def plain_state_dict(model: nn.Module) -> dict[str, Tensor]:
    """The model's weights by their own names, without the prefix that DataParallel adds."""
    import torch

    if isinstance(model, torch.nn.DataParallel):
        model = model.module
    return model.state_dict()


def read_pointer(run: Path, pointer: Pointer | str) -> str | None:
    """The name of the checkpoint that ``best`` or ``last`` names; None where there is none."""
    try:
        name = read_text(run / pointer).strip()
    except (OSError, ValueError):
        return None
    return name if re.fullmatch(r"step-\d+(-\d+)?", name) else None


def read_checkpoint(run: Path, pointer: Pointer = "best") -> dict[str, torch.Tensor]:
    """The weights of a run's checkpoint, after its manifest was checked.

    Raises:
        NoInput: the run has no such checkpoint.
        DataError: a file is missing, was changed or cut short.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    name = read_pointer(run, pointer)
    if name is None:
        raise NoInput(f"{run} has no finished checkpoint: its training did not get that far; train again")
    folder = run / "checkpoints" / name
    _verify(folder, ["model.safetensors"])
    try:
        return load_file(folder / "model.safetensors")
    except (SafetensorError, OSError) as error:
        raise DataError(f"{folder / 'model.safetensors'} cannot be read: {error}; restore it or train again") from error


def read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / "manifest.json"
    try:
        manifest = read_json(path)
        if manifest["format"] != 1:
            raise DataError(f"{path} is of format {manifest['format']!r}; this rechub reads format 1: update rechub")
        if not all(isinstance(facts, dict) for facts in manifest["files"].values()):
            raise ValueError("its files have no facts")
        return manifest
    except FileNotFoundError as error:
        raise NoInput(f"{path} is missing: the checkpoint is incomplete; restore it or train again") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is damaged ({error}); restore it or train again") from error


def _verify(folder: Path, names: list[str]) -> None:
    files = read_manifest(folder)["files"]
    for name in names:
        path = folder / name
        if not path.is_file():
            raise NoInput(f"{path} is missing: the checkpoint is incomplete; restore it or train again")
        if _fingerprint(path) != files.get(name):
            raise DataError(f"{path} is damaged: it is not the file that training wrote; restore it or train again")


def _fingerprint(path: Path) -> dict[str, Any]:
    with open(path, "rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    from safetensors.torch import save_file

    seen: set[int] = set()
    own: dict[str, Tensor] = {}
    for key, tensor in tensors.items():
        value = tensor.detach().cpu().contiguous()
        own[key] = value.clone() if value.numel() and value.data_ptr() in seen else value  # tied weights
        seen.add(value.data_ptr())
    save_file(own, path)
    with open(path, "rb+") as file:
        os.fsync(file.fileno())
