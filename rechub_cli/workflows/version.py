"""Which versions are installed, read from their metadata: nothing is imported."""

from __future__ import annotations

import platform
from importlib import metadata

import rechub_cli

STACK = ("torch", "pyarrow", "pandas", "numpy", "scikit-learn", "safetensors", "pydantic", "typer", "rich")


def versions() -> dict[str, str]:
    """Name -> version: rechub, Python, then the libraries that matter for a bug report."""
    found = {"rechub": rechub_cli.__version__, "python": platform.python_version()}
    for name in STACK:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "missing"
    return found
