"""A spec for people and editors: every value with its origin, every key with its type, a JSON Schema."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from pydantic.errors import PydanticSchemaGenerationError

from rechub_cli import plugins
from rechub_cli.errors import RechubError
from rechub_cli.spec.document import BadText, scalar
from rechub_cli.spec.keys import REQUIRED, all_keys
from rechub_cli.spec.model import Section, Spec
from rechub_cli.spec.read import ReadSpec

_BARE = re.compile(r"[A-Za-z_./][A-Za-z0-9_./*-]*")
_WORDS_OF_OLD_YAML = {"y", "n", "yes", "no", "on", "off"}  # that other readers take for booleans


def resolved_yaml(read: ReadSpec, spec: Spec, folder: Path | None = None) -> str:
    """Every value of a spec, each with a comment that says where it comes from; a spec itself.

    Args:
        read: what knows the origins.
        spec: the values; features by their exact names.
        folder: where the text will stand, if not beside the spec: relative paths are rewritten for it.
    """
    values = spec.model_dump(mode="json")
    if folder is not None:
        _move(values, read, folder)
    return "\n".join(_lines(read, _with_model_defaults(values, read), (), "")) + "\n"


def json_schema() -> dict[str, Any]:
    """JSON Schema of a spec, with the options of every model, for editors."""
    schema = _one_or_many(Spec.model_json_schema())
    model = schema["$defs"]["Model"]
    model["properties"]["name"]["examples"] = plugins.names("models")
    model["allOf"] = [rule for name in plugins.names("models") if (rule := _options_rule(name))]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "rechub spec"}


def keys(model: str | None = None) -> list[dict[str, str]]:
    """Every dotted key with its type and default, as text; with the options of ``model`` under ``model.params``."""
    found = []
    for key in all_keys():
        if isinstance(key.default, Section):  # a section: its own keys follow
            continue
        default = "required" if key.default is REQUIRED else _flow(key.default)
        found.append({"key": key.path, "type": key.type, "default": default})
        if key.path == "model.params" and model is not None:
            for option in plugins.options("models", model).values():
                default = "required" if option.required else _flow(option.default)
                found.append({"key": f"model.params.{option.name}", "type": option.type, "default": default})
    return found


def _lines(read: ReadSpec, values: Mapping[str, Any], path: tuple[str, ...], indent: str) -> Iterator[str]:
    for key, value in values.items():
        here = (*path, key)
        head = f"{indent}{_scalar(key)}:"
        if path in (("features",), ("labels",)):
            yield f"{head} {_flow(value)}  # {_origins(read, here, value)}"
        elif isinstance(value, dict) and value and read.at(here).kind != "flag":
            yield head
            yield from _lines(read, value, here, indent + "  ")
        else:
            yield f"{head} {_flow(value)}  # {read.at(here).comment}"


def _origins(read: ReadSpec, path: tuple[str, ...], value: Mapping[str, Any]) -> str:
    """Where a feature's line comes from, and those of its fields that come from elsewhere."""
    own = read.at(path).comment
    others: dict[str, list[str]] = {}
    for field in value:
        comment = read.at((*path, field)).comment
        if comment not in (own, "default"):
            others.setdefault(comment, []).append(field)
    return "; ".join([own, *(f"{', '.join(fields)}: {comment}" for comment, fields in others.items())])


def _with_model_defaults(values: dict[str, Any], read: ReadSpec) -> dict[str, Any]:
    name = read.spec.model.name
    try:
        known = plugins.options("models", name, read.base)
    except RechubError:
        return values
    defaults = {option.name: option.default for option in known.values() if not option.required}
    model = {**values["model"], "params": {**defaults, **values["model"]["params"]}}
    return {**values, "model": model}


def _move(values: dict[str, Any], read: ReadSpec, folder: Path) -> None:
    """Relative paths in ``values`` lead from the spec's folder; make them lead from ``folder``."""

    def moved(path: str) -> str:
        if path == "-" or "://" in path or os.path.isabs(path):
            return path
        return os.path.relpath(read.base.resolve() / path, folder.resolve())

    data = values["data"]
    for part in ("train", "valid", "test", "items"):
        if data[part]:
            data[part] = [moved(path) for path in data[part]]
    for join in data["join"]:
        join["file"] = moved(join["file"])
    file, colon, attribute = values["model"]["name"].rpartition(":")
    if file.endswith(".py") and values["model"]["name"] == read.spec.model.name:
        values["model"]["name"] = f"{moved(file)}{colon}{attribute}"


def _flow(value: Any) -> str:
    if isinstance(value, Section):
        value = value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_scalar(str(key))}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return _scalar(value)


def _scalar(value: Any) -> str:
    """One value such that YAML 1.1 and 1.2 both read it back."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, float):
        text = repr(value)
        return text.replace("e", ".0e") if "e" in text and "." not in text else text
    if isinstance(value, int):
        return str(value)
    text = str(value)
    if _BARE.fullmatch(text) and text.lower() not in _WORDS_OF_OLD_YAML and _is_text(text):
        return text
    quoted = json.dumps(text, ensure_ascii=False)
    return "".join(letter if letter.isprintable() else f"\\U{ord(letter):08x}" for letter in quoted)


def _is_text(text: str) -> bool:
    try:
        return isinstance(scalar(text), str)
    except BadText:
        return False


def _one_or_many(schema: Any) -> Any:
    """Where a list of text may stand, one text may too."""
    if isinstance(schema, list):
        return [_one_or_many(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("type") == "array" and schema.get("items") == {"type": "string"}:
        return {"anyOf": [{"type": "string"}, dict(schema)]}
    return {key: _one_or_many(item) for key, item in schema.items()}


def _options_rule(model: str) -> dict[str, Any] | None:
    """If this is the model, these are its options; None where a plugin cannot say."""
    properties = {}
    try:
        known = plugins.options("models", model)
        for option in known.values():
            properties[option.name] = TypeAdapter(option.hint).json_schema()
            if not option.required:
                properties[option.name]["default"] = json.loads(json.dumps(option.default, default=str))
    except (RechubError, PydanticSchemaGenerationError):
        return None
    params = {"properties": properties, "additionalProperties": known.open}
    return {"if": {"properties": {"name": {"const": model}}}, "then": {"properties": {"params": params}}}
