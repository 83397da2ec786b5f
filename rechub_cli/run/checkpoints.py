"""Checkpoints: weights and training state as safetensors and JSON; nothing in them can run code.

    checkpoints/step-0003907/{model.safetensors, state.safetensors, state.json, manifest.json}
    best, last           one line each: the name of a checkpoint

The manifest holds the size and SHA-256 of the other files, and which checkpoint was the best by then. It is written
after them, and the folder gets its name after the manifest: what has a name is whole, whenever the process died. The
one before the last is kept until training is done, for when the last is damaged.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rechub_cli.errors import DataError, NoInput
from rechub_cli.files import creating, sync_folder, write_text
from rechub_cli.run.reading import (
    fingerprint,
    order_of,
    read_checkpoint,
    read_manifest,
    read_pointer,
    verified,
)
from rechub_cli.run.writing import save_tensors

if TYPE_CHECKING:
    from torch import Tensor, nn

FILES = ("model.safetensors", "state.safetensors", "state.json")


class Checkpoints:
    """The checkpoints of one run; keeps the best, the last, the one before the last and what was the best by then.

    Args:
        every_steps, every_minutes: how often there is to be one within an epoch.
    """

    def __init__(self, run: Path, *, every_steps: int | None = None, every_minutes: float | None = None) -> None:
        self.run = run
        self.folder = run / "checkpoints"
        self.every_steps = every_steps
        self.every_minutes = every_minutes
        self._saved = time.monotonic()

    def due(self, step: int) -> bool:
        """Whether it is time for one after ``step``, though the epoch goes on."""
        if self.every_steps is not None and step % self.every_steps == 0:
            return True
        return self.every_minutes is not None and time.monotonic() - self._saved >= 60 * self.every_minutes

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
        before = read_pointer(self.run, "last")
        self._write(target, step, epoch, model, state, metrics, target.name if best else read_pointer(self.run, "best"))
        self._point(target.name)
        self._sweep(target.name, before)
        self._saved = time.monotonic()

    def settle(self) -> None:
        """Training is done: nothing but the best and the last is needed any more."""
        self._sweep(read_pointer(self.run, "last"))

    def newest(self, warn: Callable[[str], None] = lambda text: None) -> str | None:
        """The newest whole checkpoint that training can go on from; ``warn`` is told of each that is passed over.

        Raises:
            DataError: there are checkpoints, and none is whole.
        """
        faults = []
        for *_, name in self._in_order()[::-1]:
            try:
                manifest = verified(self.folder / name, FILES)
                if manifest.get("best") not in (None, name):
                    verified(self.folder / manifest["best"], ["model.safetensors"])
                return name
            except (NoInput, DataError) as error:
                faults.append(str(error))
                warn(f"checkpoint {name} is passed over: {error}")
        if faults:
            raise DataError(f"{self.run} has no whole checkpoint to go on from: {faults[0]}")
        return None

    def go_back_to(self, name: str) -> None:
        """Make ``name`` the last, with the best of its time; what came after it goes."""
        self._point(name)
        names = [other for *_, other in self._in_order()]
        for later in names[names.index(name) + 1 :]:
            self._remove(later)

    def _point(self, name: str) -> None:
        """``best`` first: once ``last`` names a checkpoint, its best is in force."""
        best = read_manifest(self.folder / name).get("best")
        if best is not None:
            write_text(self.run / "best", f"{best}\n")
        write_text(self.run / "last", f"{name}\n")

    def _in_order(self) -> list[tuple[int, int, str]]:
        return sorted(filter(None, map(order_of, self._names())))

    def _names(self) -> list[str]:
        with contextlib.suppress(FileNotFoundError):
            return [entry.name for entry in self.folder.iterdir()]
        return []

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
        best: str | None,
    ) -> None:
        import torch

        building = target.with_name(f".{target.name}.tmp")
        tensors = {key: value for key, value in state.items() if isinstance(value, torch.Tensor)}
        rest = {key: value for key, value in state.items() if key not in tensors}
        with creating(target):
            try:
                shutil.rmtree(building, ignore_errors=True)
                building.mkdir(parents=True)
                save_tensors(building / "model.safetensors", plain_state_dict(model))
                save_tensors(building / "state.safetensors", tensors)
                write_text(building / "state.json", json.dumps(rest))
                manifest = {
                    "format": 1,
                    "step": step,
                    "epoch": epoch,
                    "best": best,
                    "metrics": dict(metrics),
                    "files": {path.name: fingerprint(path) for path in sorted(building.iterdir())},
                }
                write_text(building / "manifest.json", json.dumps(manifest, indent=2))
                building.rename(target)
            except BaseException:
                shutil.rmtree(building, ignore_errors=True)
                raise
            sync_folder(target.parent)

    def _sweep(self, *wanted: str | None) -> None:
        """Remove all but the ``wanted`` and the best of their times."""
        kept = {read_pointer(self.run, "best"), *wanted}
        for name in wanted:
            with contextlib.suppress(NoInput, DataError):
                kept.add(read_manifest(self.folder / name).get("best") if name else None)
        for name in self._names():
            if name not in kept:
                self._remove(name)

    def _remove(self, name: str) -> None:
        """It loses its name first: a kill while its files go must leave none that looks whole."""
        folder = self.folder / name
        if not name.startswith("."):
            unnamed = self.folder / f".{name}.tmp"
            shutil.rmtree(unnamed, ignore_errors=True)
            try:
                folder = folder.rename(unnamed)
            except OSError:
                return
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
