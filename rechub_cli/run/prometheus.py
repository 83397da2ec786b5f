"""Numbers of a command as a Prometheus text file, for a node exporter's textfile collector."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from rechub_cli.errors import CannotCreate
from rechub_cli.files import write_text

HELP = {
    "rechub_metric": "A quality metric of a model on a part of the data.",
    "rechub_rows": "Rows that were read.",
    "rechub_seconds": "How long the command took.",
    "rechub_epoch": "The epoch of the best weights.",
    "rechub_drift": "A share or a length now, or a mean's shift in standard deviations of training.",
    "rechub_drift_training": "The same share or length in training.",
    "rechub_last_success_timestamp_seconds": "When the command ended well.",
}


@dataclass(frozen=True, slots=True)
class Sample:
    """One gauge."""

    name: str  # a key of HELP
    labels: Mapping[str, str]
    value: float


def check_target(path: str | None) -> None:
    """Raises CannotCreate if the file cannot be written: to be asked before the work begins."""
    if path is None:
        return
    folder = Path(path).parent
    if Path(path).is_dir():
        raise CannotCreate(f"cannot write --prometheus {path}: it is a directory")
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise CannotCreate(f"cannot write --prometheus {path}: {folder} is no directory that can be written")


def write(path: str, samples: Iterator[Sample] | list[Sample]) -> None:
    """Replace the file, whole or not at all."""
    write_text(path, exposition(list(samples)))


def exposition(samples: list[Sample]) -> str:
    """The text format, version 0.0.4: families in a row, each with its help and type."""
    lines: list[str] = []
    for name, help in HELP.items():
        found = [sample for sample in samples if sample.name == name]
        if not found:
            continue
        lines += [f"# HELP {name} {help}", f"# TYPE {name} gauge"]
        for sample in found:
            labels = ",".join(f'{key}="{_quoted(value)}"' for key, value in sample.labels.items())
            lines.append(f"{name}{{{labels}}} {_number(sample.value)}")
    return "\n".join(lines) + "\n"


def _quoted(value: str) -> str:
    value = value.encode("utf-8", "replace").decode()  # a name that is no text
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", " ")


def _number(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return repr(float(value))
