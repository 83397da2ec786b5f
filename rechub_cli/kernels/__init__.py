"""Compiled loops, where the installation could build them. Importing this imports nothing that is large."""

from __future__ import annotations

import ctypes
import os
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any


def compiled_path() -> Path | None:
    """Where the compiled loops are; None where the installation could not build them, or ``RECHUB_KERNELS`` is 0."""
    if os.environ.get("RECHUB_KERNELS") == "0":
        return None
    paths = [Path(__file__).with_name(f"_compiled{suffix}") for suffix in EXTENSION_SUFFIXES]
    return next((path for path in paths if path.exists()), None)


def loaded(**functions: tuple[list[Any], Any]) -> ctypes.CDLL | None:
    """The compiled loops, with the types that these of them take and return; None where there are no such loops.

    Each caller has a library of its own: those of embedding rows are declared with torch, which reading does without.
    """
    path = compiled_path()
    if path is None:
        return None
    try:
        found = ctypes.CDLL(str(path))
        for name, (takes, returns) in functions.items():
            function = getattr(found, name)
            function.argtypes, function.restype = takes, returns
    except (OSError, AttributeError):  # of another system, or of another version
        return None
    return found
