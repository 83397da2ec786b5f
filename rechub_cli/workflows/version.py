"""Which versions are installed, read from their metadata: nothing is imported."""

from __future__ import annotations

import os
import platform
from importlib import metadata

import rechub_cli
from rechub_cli.kernels import compiled_path

STACK = ("torch", "pyarrow", "pandas", "numpy", "scikit-learn", "safetensors", "pydantic", "typer", "rich")


def versions() -> dict[str, str]:
    """Name -> version: rechub, Python, the libraries that matter for a bug report, and whether its own C is in use."""
    found = {"rechub": rechub_cli.__version__, "python": platform.python_version()}
    for name in STACK:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "missing"
    found["kernels"] = _kernels()
    return found


def _kernels() -> str:
    """Whether the loops that are written in C are used."""
    if os.environ.get("RECHUB_KERNELS") == "0":
        return "off (RECHUB_KERNELS=0)"
    return "compiled" if compiled_path() else "not built: a C compiler was missing at installation"
