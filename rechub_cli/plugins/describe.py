"""What can be said of a plugin without importing it."""

from __future__ import annotations

import ast
import inspect
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rechub_cli.errors import SpecError
from rechub_cli.plugins.options import Options, options_of
from rechub_cli.plugins.registry import find, load, split_k
from rechub_cli.plugins.source import Unreadable, attribute, definition

_URL = re.compile(r"https?://[^\s<>\])]+[^\s<>\]).,;]")


@dataclass(frozen=True, slots=True)
class Description:
    """A plugin, for people."""

    name: str
    summary: str  # the first line of its docstring
    docstring: str
    papers: tuple[str, ...]  # the addresses its docstring names
    options: Options
    source: str  # the distribution, module or file it comes from


@dataclass(frozen=True, slots=True)
class MetricInfo:
    """What a trainer has to know of a metric beforehand."""

    name: str
    higher_is_better: bool
    tasks: tuple[str, ...]
    needs_group: bool


def describe(kind: str, name: str, base: Path | None = None) -> Description:
    """Raises SpecError where there is no such plugin, Unavailable where it can neither be read nor imported."""
    plugin = find(kind, name, base)
    try:
        found, _ = definition(plugin)
        text = ast.get_docstring(found) or ""
    except Unreadable:
        text = inspect.getdoc(load(kind, name, base)) or ""
    lines = text.splitlines()
    papers = tuple(dict.fromkeys(_URL.findall(text)))
    return Description(plugin.name, lines[0] if lines else "", text, papers, options_of(plugin, base), plugin.source)


def summary(kind: str, name: str) -> str:
    """The first line of a plugin's docstring, for a list: it is imported only where its source cannot be read."""
    plugin = find(kind, name)
    try:
        text = ast.get_docstring(definition(plugin)[0]) or ""
    except Unreadable:
        text = inspect.getdoc(load(kind, name)) or ""
    return text.partition("\n")[0]


def metric_info(name: str, base: Path | None = None) -> MetricInfo:
    """A metric's direction and needs, read from the literals in its class body; ``name`` may carry ``@k``.

    Raises:
        SpecError: there is no such metric, or it takes no ``k``.
    """
    plain, k = split_k(name)
    plugin = find("metrics", plain, base)
    if k is not None and "k" not in options_of(plugin, base):
        raise SpecError(f"metric '{plain}' takes no @k: write '{plain}'")
    return MetricInfo(
        name,
        bool(_said("higher_is_better", plain, base, True)),
        tuple(_said("tasks", plain, base, ("classification", "regression"))),
        bool(_said("needs_group", plain, base, False)),
    )


def class_literal(kind: str, name: str, what: str, default: Any = None, base: Path | None = None) -> Any:
    """The plain value that a plugin's class body gives to ``what``; nothing is imported for it.

    The default stands where the class gives none, or cannot be read.

    Raises:
        SpecError: there is no such plugin.
    """
    try:
        found, path = definition(find(kind, name, base))
        return attribute(found, path, what) if isinstance(found, ast.ClassDef) else default
    except Unreadable:
        return default


def _said(what: str, name: str, base: Path | None, default: Any) -> Any:
    try:
        found, path = definition(find("metrics", name, base))
        if isinstance(found, ast.ClassDef):
            return attribute(found, path, what)
    except Unreadable:
        pass
    return getattr(load("metrics", name, base), what, default)
