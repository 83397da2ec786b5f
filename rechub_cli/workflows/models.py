"""What a spec can name: models, losses, metrics and readers, described without importing them."""

from __future__ import annotations

from typing import Any

from rechub_cli.errors import RechubError, SpecError, UsageError
from rechub_cli.plugins import KINDS, describe, names, summary


def list_plugins(kind: str | None = None) -> list[dict[str, str]]:
    """Every registered plugin, or those of one kind; one that cannot be described says so in its summary."""
    kinds = list(KINDS) if kind is None else [known_kind(kind)]
    found = []
    for each in kinds:
        for name in names(each):
            try:
                said = summary(each, name)
            except RechubError as error:
                said = f"broken: {error}"
            found.append({"kind": each, "name": name, "summary": said})
    return found


def show_plugin(name: str, kind: str | None = None) -> dict[str, Any]:
    """One plugin and its options; without ``kind`` a model, or the first other kind that has the name.

    Raises:
        UsageError: no plugin has this name.
    """
    if kind is None:
        having = [each for each in KINDS if name.lower() in names(each)]
        kind = having[0] if having else "models"
    kind = known_kind(kind)
    try:
        found = describe(kind, name)
    except SpecError as error:
        raise UsageError(str(error)) from error
    return {
        "kind": kind,
        "name": found.name,
        "summary": found.summary,
        "doc": "\n".join(found.docstring.splitlines()[1:]).strip(),
        "papers": list(found.papers),
        "options": [
            {"name": option.name, "type": option.type, "default": None if option.required else option.default}
            for option in found.options.values()
        ],
        "source": found.source,
    }


def keys_of(name: str) -> list[dict[str, str]]:
    """Every dotted key of a spec for this model, with type and default."""
    from rechub_cli.spec.render import keys

    try:
        return keys(name)
    except SpecError as error:
        raise UsageError(str(error)) from error


def spec_schema() -> dict[str, Any]:
    """JSON Schema of a spec."""
    from rechub_cli.spec.render import json_schema

    return json_schema()


def known_kind(kind: str) -> str:
    """The kind as KINDS spells it. Raises UsageError for any other word."""
    for plural, word in KINDS.items():
        if kind.lower() in (plural, word):
            return plural
    raise UsageError(f"--kind is {kind!r}; it can be {', '.join(KINDS)}")
