"""Which command a spec is for, and what that command needs of it beyond its form."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from rechub_cli import plugins
from rechub_cli.errors import SpecError

if TYPE_CHECKING:
    from rechub_cli.spec.model import Spec
    from rechub_cli.spec.read import ReadSpec

Problems = list[tuple[str, str]]  # (dotted path, what is wrong)


def command_of(spec: Spec, base: Path) -> str:
    """The command that trains this spec: the one its model names, else train-ctr, or train-mtl for several labels."""
    return command_of_model(spec, base) or ("train-mtl" if len(spec.labels) > 1 else "train-ctr")


def command_of_model(spec: Spec, base: Path) -> str | None:
    """``command`` of the model's class; a click model names none, for several labels may train it too."""
    with contextlib.suppress(SpecError):  # there is no such model: told with all else that is wrong
        return plugins.class_literal("models", spec.model.name, "command", None, base)
    return None


def check_command(command: str, read: ReadSpec) -> None:
    """What the command needs of the spec.

    Raises:
        SpecError: the model is for another command, the labels or the files to train on are wanting.
    """
    spec, problems = read.spec, Problems()
    own = command_of_model(spec, read.base)
    if own != command and (own is not None or command == "train-match"):
        fit = f"it is trained by rechub {own}" if own else "it scores rows, and has no vectors of users and items"
        problems.append(("model.name", f"{command} does not train {spec.model.name}: {fit}"))
    elif command == "train-ctr" and len(spec.labels) != 1:
        problems.append(("labels", f"train-ctr needs exactly one label, and the spec {_labels(spec)}"))
    elif command == "train-mtl" and len(spec.labels) < 2:
        problems.append(("labels", f"train-mtl needs two labels or more, and the spec {_labels(spec)}"))
    if not spec.data.train:
        problems.append(("data.train", "is missing: name the files to train on, or use --train PATH"))
    if command == "train-match" and not problems:
        problems += _retrieval(spec, read.base)
    if problems:
        read.fail(problems)


def _retrieval(spec: Spec, base: Path) -> Problems:
    """The columns without which there is no catalogue, or nobody who has anything."""
    if spec.item is None:
        return [("item", "train-match needs 'item:', the column of the items' ids")]
    if spec.user is None and plugins.class_literal("models", spec.model.name, "counting", False, base):
        return [("user", f"{spec.model.name} counts who had what: it needs 'user:', the column that says who")]
    if spec.user is None and spec.trainer.exclude_seen:
        return [("user", "trainer.exclude_seen needs 'user:', the column that says who has seen what")]
    return []


def _labels(spec: Spec) -> str:
    return f"has {len(spec.labels)}: {', '.join(spec.labels)}" if spec.labels else "has none"
