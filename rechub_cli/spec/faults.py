"""Faults of plugins' names and options as problems of a spec."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from rechub_cli.errors import SpecError
from rechub_cli.plugins.options import OptionProblem
from rechub_cli.spec.problems import Problem


def of_options(
    path: tuple[str, ...], name: tuple[str, ...], params: Mapping[str, Any], faults: list[OptionProblem], note: str = ""
) -> list[Problem]:
    """Faults of options at ``path``; one that is wanting is shown at the name of what wants it."""
    found = []
    for fault in faults:
        if fault.path[0] not in params:
            found.append(Problem(name, fault.text))
        elif fault.unknown:
            notes = (note,) if note else ()
            found.append(Problem((*path, *fault.path), fault.text, fault.suggestion, "key", notes))
        else:
            found.append(Problem((*path, *fault.path), fault.text, fault.suggestion))
    return found


def of_name(path: tuple[str | int, ...], error: SpecError, known: list[str], name: str) -> Problem:
    """A plugin's name that stands for nothing."""
    if ":" in name or not str(error).startswith("unknown "):
        return Problem(path, str(error))
    guess = difflib.get_close_matches(name.lower(), known, 1, 0.6)
    what = str(error).partition(" '")[0].removeprefix("unknown ")
    return Problem(path, f"unknown {what} '{name}' (known: {', '.join(known)})", guess[0] if guess else None)
