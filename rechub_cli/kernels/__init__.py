"""Compiled loops over embedding rows, where the installation could build them. Importing this imports nothing."""

from __future__ import annotations

import os
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path


def compiled_path() -> Path | None:
    """Where the compiled loops are; None where the installation could not build them, or ``RECHUB_KERNELS`` is 0."""
    if os.environ.get("RECHUB_KERNELS") == "0":
        return None
    paths = [Path(__file__).with_name(f"_compiled{suffix}") for suffix in EXTENSION_SUFFIXES]
    return next((path for path in paths if path.exists()), None)
