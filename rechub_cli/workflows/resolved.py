"""A spec read and resolved with its data, while torch is imported beside."""

from __future__ import annotations

import contextlib
import importlib
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rechub_cli.workflows.commands import check_command, command_of
from rechub_cli.workflows.dates import dated_read, dated_spec
from rechub_cli.workflows.sources import (
    Sources,
    check_other_parts,
    column_kinds,
    open_sources,
)

if TYPE_CHECKING:
    from rechub_cli.spec.model import Spec
    from rechub_cli.spec.read import ReadSpec


def read_and_resolve(request: Any, command: str | None = None) -> tuple[ReadSpec, Spec, Sources]:
    """The spec with all its names checked against the data's columns; torch is not imported for this.

    ``command`` is to train it; without one, the command that its model is for.

    Raises:
        SpecError: all that is wrong with the spec.
        NoInput: the spec or a file it names is not there.
    """
    from rechub_cli.spec.columns import resolve_columns
    from rechub_cli.spec.read import read_spec

    day = getattr(request, "date", None)

    def columns(spec: Spec, base: Path) -> dict[str, str]:
        return column_kinds(dated_spec(spec, day), base)

    read = dated_read(read_spec(request.spec, request.overrides, request.sugar(), columns), day)
    check_command(command or command_of(read.spec, read.base), read)
    sources = open_sources(read.spec, read.base)
    spec = resolve_columns(read, sources.train.column_kinds())
    check_other_parts(spec, sources)
    default_device = getattr(request, "default_device", None)
    if default_device and "device" not in read.spec.trainer.model_fields_set:
        spec = spec.model_copy(update={"trainer": spec.trainer.model_copy(update={"device": default_device})})
    return read, spec, sources


def import_torch_meanwhile(command: str) -> threading.Thread:
    """Importing torch and the command's trainer takes seconds: let that happen while the encoder reads."""
    thread = threading.Thread(target=_import_trainer, args=(command.removeprefix("train-"),), name="import torch")
    thread.start()
    return thread


def _import_trainer(name: str) -> None:
    with contextlib.suppress(Exception):  # the main thread imports it again, and tells
        importlib.import_module(f"rechub_cli.trainers.{name}")
