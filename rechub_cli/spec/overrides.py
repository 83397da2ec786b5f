"""``--set a.b=value``: what it names, and its text as the type that is due there."""

from __future__ import annotations

import copy
import difflib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path as File
from typing import Any, Literal, get_origin

from rechub_cli.spec import keys
from rechub_cli.spec.document import MOST_BYTES, BadText, Path, Span, decode, parse, scalar, speakable
from rechub_cli.spec.problems import Origin, dotted

_TOKEN = re.compile(r"""\s*(?:"([^"]*)"|'([^']*)'|([^.="']+?))\s*(?=\.|\+?=|$)""")
FLAGS = {
    "data.train": "--train",
    "data.valid": "--valid",
    "data.test": "--test",
    "data.items": "--items",
    "trainer.n_epoch": "--epochs",
    "trainer.batch_size": "--batch-size",
    "trainer.optimizer_params.lr": "--lr",
    "trainer.device": "--device",
    "trainer.seed": "--seed",
}
_CLEAR: Any = object()


class BadOverride(Exception):
    """An override that cannot be applied; ``part`` says which side of the = is at fault."""

    def __init__(self, text: str, part: Literal["key", "value"] = "value", suggestion: str | None = None) -> None:
        super().__init__(text)
        self.text, self.part, self.suggestion = text, part, suggestion


@dataclass(frozen=True, slots=True)
class Override:
    """One ``--set`` argument, split but not yet understood."""

    piece: str
    tokens: tuple[str, ...]
    append: bool
    text: str
    origin: Origin


def split(piece: str) -> Override:
    """``a."b.c".d+=x`` -> tokens (a, b.c, d), append, text x.

    Raises:
        BadOverride: not KEY=VALUE.
    """
    if not speakable(piece):
        raise BadOverride("is not UTF-8 text", "key")
    tokens, place = [], 0
    while True:
        found = _TOKEN.match(piece, place)
        if not found:
            raise BadOverride("write KEY=VALUE, as in trainer.n_epoch=3", "key")
        tokens.append(next(group for group in found.groups() if group is not None))
        place = found.end()
        if piece[place : place + 1] != ".":
            break
        place += 1
    append = piece[place : place + 2] == "+="
    if tokens[-1].endswith("+") and piece[place : place + 1] == "=":
        tokens[-1], append = tokens[-1][:-1].rstrip(), True
    equals = piece.find("=", place)
    if equals < 0:
        raise BadOverride("write KEY=VALUE, as in trainer.n_epoch=3", "key")
    text = piece[equals + 1 :]
    key = Span(1, 1, max(len(piece[: equals - append].rstrip()), 1))
    value = Span(1, equals + 2, max(len(text), 1))
    return Override(piece, tuple(tokens), append, text, Origin("set", key=key, value=value, piece=piece))


def standing_alone(piece: str) -> str:
    """The argument with the content of its file in place of ``@file``.

    Raises:
        BadOverride: it is none, or the file cannot be read.
    """
    text = split(piece).text
    if not text.startswith("@"):
        return piece
    return piece[: -len(text)] + json.dumps(_from_file(text[1:]), ensure_ascii=False)


def locate(tokens: tuple[str, ...], data: Any) -> Path:
    """The path that dotted tokens mean in a spec that holds ``data``; a name with dots is found as one.

    Raises:
        BadOverride: no spec has such a key.
    """
    path: Path = ()
    rest = list(tokens)
    while rest:
        taken, part = _next_part(path, rest, data)
        path, rest = (*path, part), rest[taken:]
        if keys.hint_at(path, data) is None:
            wrong = (*path, *rest)
            guess = keys.similar(path, data)
            better = ".".join([guess, *rest]) if guess else None
            raise BadOverride(f"unknown key '{dotted(wrong)}'", "key", better)
    return path


def apply(override: Override, data: dict[str, Any]) -> Path:
    """Change ``data`` as an override says, and return the path it changed.

    Raises:
        BadOverride: the key is unknown, the value cannot be read, or something above it is not a mapping.
    """
    path = locate(override.tokens, data)
    hint = keys.hint_at(path, data)
    value = understood(override.text, hint)
    if override.append:
        value = _appended(value, path, hint, data)
    elif value is None and not _keeps_null(path, data):
        value = _CLEAR
    put(data, path, value)
    return path


def put(data: dict[str, Any], path: Path, value: Any) -> None:
    """Set or clear what stands at ``path``, making the mappings above it."""
    here: Any = data
    for depth, part in enumerate(path[:-1]):
        following = path[depth + 1]
        if isinstance(here, list) and isinstance(part, int):
            if part == len(here):
                here.append({})
        elif here.get(part) is None:
            if value is _CLEAR:
                return
            if path[0] == "features" and depth == 1 and following != "type":  # misspelt, not the start of a new one
                raise BadOverride(f"there is no feature '{part}'", "key", _similar_feature(path, here))
            here[part] = [] if isinstance(following, int) else {}
        here = here[part]
        if not isinstance(here, list if isinstance(following, int) else dict):
            raise BadOverride(
                f"'{dotted(path[: depth + 1])}' is not a {'list' if isinstance(following, int) else 'mapping'}"
            )
    last = path[-1]
    if isinstance(here, list) and isinstance(last, int):
        here[last : last + 1] = [] if value is _CLEAR else [value]
    elif value is _CLEAR:
        here.pop(last, None)
    else:
        here[last] = value


def understood(text: str, hint: Any) -> Any:
    """The value that an argument's text means where ``hint`` is due.

    Raises:
        BadOverride: it is empty, its file cannot be read, or it is broken YAML.
    """
    if text == "null":
        return None
    if text.startswith("@"):
        return _from_file(text[1:])
    kinds = keys.options_of(hint)
    texts, item = str in kinds, keys.items(hint)
    others = [one for one in kinds if one is not str]
    if not text and item is None:
        if texts:
            return ""
        raise BadOverride("there is no value after the =; null clears a key")
    try:
        if text[:1] in ("'", '"') and text[-1:] == text[:1] and len(text) > 1:
            whole = _quoted(text)
            if whole is not None:
                return whole
        if text[:1] in ("[", "{") and (others or not texts):
            return _flow(text)
        if item is not None:
            return [understood(one.strip(), item) for one in text.split(",")] if text else []
        if texts and not others:
            return text
        if Any in kinds and "," in text:
            return [scalar(one.strip()) for one in text.split(",")]
        return scalar(text)
    except BadText as error:
        raise BadOverride(error.text) from error


def _next_part(path: Path, rest: list[str], data: Any) -> tuple[int, str | int]:
    """How many tokens make the next part of a path, and that part."""
    hint = keys.hint_at(path, data)
    here = data
    for part in path:
        here = (
            here[part]
            if isinstance(here, list) and isinstance(part, int) and part < len(here)
            else (here.get(part) if isinstance(here, dict) else None)
        )
    if keys.items(hint) is not None and rest[0].isdecimal() and len(rest[0]) < 6:
        count = len(here) if isinstance(here, list) else 0
        if int(rest[0]) > count:
            raise BadOverride(f"'{dotted(path)}' holds {count}; the next number is {count}", "key")
        return 1, int(rest[0])
    pair = keys.mapping(hint)
    if pair is None or get_origin(pair[0]) is Literal:
        return 1, rest[0]
    for count in range(len(rest), 0, -1):  # the longest name that is there
        name = ".".join(rest[:count])
        if isinstance(here, Mapping) and name in here:
            return count, name
    if Any in keys.options_of(pair[1]):
        return 1, rest[0]
    below = keys.fields(pair[1])
    for count in range(len(rest) - 1, 0, -1):
        if rest[count] in below:
            return count, ".".join(rest[:count])
    if below and len(rest) > 1:  # a name that is there followed by a wrong key would have been found above
        return len(rest) - 1, ".".join(rest[:-1])
    return len(rest), ".".join(rest)


def _similar_feature(path: Path, features: dict[str, Any]) -> str | None:
    guess = difflib.get_close_matches(str(path[1]), features, 1, 0.6)
    return dotted(("features", guess[0], *path[2:])) if guess else None


def _keeps_null(path: Path, data: Any) -> bool:
    """Whether null is a value of its own at ``path``; else it takes the key away."""
    if path[:2] == ("model", "params"):
        return len(path) > 2
    hint = keys.hint_at(path, data)
    return Any not in keys.options_of(hint) and keys.takes_null(hint)


def _appended(value: Any, path: Path, hint: Any, data: Any) -> list[Any]:
    if keys.items(hint) is None and Any not in keys.options_of(hint):
        raise BadOverride(f"'{dotted(path)}' is not a list: += appends to lists", "key")
    here = data
    for part in path:
        if isinstance(here, dict):
            here = here.get(part, _CLEAR)
        else:
            here = here[part] if isinstance(here, list) and isinstance(part, int) and part < len(here) else _CLEAR
    if here is _CLEAR or here is None:
        here = keys.default_at(path, data)
    before = copy.copy(here) if isinstance(here, list) else [] if here is None else [here]
    return before + (value if isinstance(value, list) else [value])


def _quoted(text: str) -> str | None:
    """The inside of a text that is one quoted YAML scalar."""
    try:
        value = parse(text).data
    except BadText:
        return None
    return value if isinstance(value, str) else None


def _flow(text: str) -> Any:
    document = parse(text)
    if document.faults:
        raise BadText(document.faults[0][0])
    return document.data


def _from_file(name: str) -> Any:
    try:
        with open(File(name).expanduser(), "rb") as file:
            text = decode(file.read(MOST_BYTES + 1))
        if not name.endswith(".json"):
            return _flow(text)
        return _flow(json.dumps(json.loads(text), ensure_ascii=False))  # so that the same bounds hold
    except OSError as error:
        hint = "" if name else "; quote a text that starts with @"
        raise BadOverride(f"cannot read {name or 'a file without a name'}: {error.strerror}{hint}") from error
    except (BadText, ValueError, RecursionError) as error:
        raise BadOverride(f"{name}: {error or 'nested too deep'}") from error
