"""A user's value, coerced to the type of a signature."""

from __future__ import annotations

import difflib
import math
import re
import types
from typing import Any, Literal, Union, get_args, get_origin

_INTEGER = re.compile(r"[-+]?[0-9]{1,20}")
_NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WORDS = {int: "integer", float: "number", bool: "true or false", str: "text", None: "null", type(None): "null"}


class BadValue(ValueError):
    """A value that a type does not take."""

    def __init__(self, text: str, path: tuple[str | int, ...] = (), suggestion: str | None = None) -> None:
        super().__init__(text)
        self.text, self.path, self.suggestion = text, path, suggestion


def words(hint: Any) -> str:
    """A type as a user reads it."""
    origin, inside = get_origin(hint), get_args(hint)
    if hint is Any:
        return "any value"
    if origin is Literal:
        return "one of " + ", ".join(map(str, inside))
    if origin in (Union, types.UnionType):
        return " or ".join(words(one) for one in inside)
    if origin is list:
        return f"list of {_plural(inside[0])}"
    if origin is tuple:
        if inside[-1] is Ellipsis:
            return f"list of {_plural(inside[0])}"
        return f"list of {len(inside)}: " + ", ".join(words(one) for one in inside)
    if origin is dict or hint is dict:
        return "mapping"
    return _WORDS.get(hint, getattr(hint, "__name__", str(hint)))


def coerce(value: Any, hint: Any) -> Any:
    """``value`` as the type ``hint``: text becomes a number where a number is due, one value a list of one.

    Raises:
        BadValue: it cannot be.
    """
    origin, inside = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if origin is Literal:
        return _choice(value, inside)
    if origin in (Union, types.UnionType):
        return _any_of(value, inside, hint)
    if origin in (list, tuple):
        return _items(value, origin, inside, hint)
    if origin is dict or hint is dict:
        if not isinstance(value, dict):
            raise _expected(hint, value)
        return {key: _inside(key, item, inside[1] if inside else Any) for key, item in value.items()}
    if hint in (None, type(None)):
        if value is not None:
            raise _expected(hint, value)
        return None
    return _scalar(value, hint)


def _scalar(value: Any, hint: Any) -> Any:
    if hint is bool:
        if isinstance(value, str) and value.lower() in ("true", "false"):
            return value.lower() == "true"
        if isinstance(value, bool):
            return value
    elif hint is int:
        if isinstance(value, str) and _INTEGER.fullmatch(value):
            return int(value)
        if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
            return int(value)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    elif hint is float:
        if isinstance(value, str) and _NUMBER.fullmatch(value):
            value = float(value)
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
    elif hint is str:
        if isinstance(value, str):
            return value
        if isinstance(value, int | float) and not isinstance(value, bool):
            return str(value)
    else:
        return value  # a class of the plugin's own: only it can tell
    raise _expected(hint, value)


def _choice(value: Any, choices: tuple[Any, ...]) -> Any:
    for choice in choices:
        if type(value) is type(choice) and value == choice:
            return choice
    for choice in choices:  # text of a number that is a choice
        if isinstance(value, str) != isinstance(choice, str) and str(value) == str(choice):
            return choice
    guess = difflib.get_close_matches(str(value), [str(one) for one in choices], 1, 0.6)
    listed = ", ".join(map(str, choices))
    raise BadValue(f"{_shown(value)} is not one of {listed}", suggestion=guess[0] if guess else None)


def _any_of(value: Any, hints: tuple[Any, ...], hint: Any) -> Any:
    if value is None and type(None) in hints:
        return None
    others = [one for one in hints if one is not type(None)]
    if len(others) == 1:
        return coerce(value, others[0])
    for one in others:  # first a type the value already has, so that "5" stays text in `str | int`
        if one is type(value):
            return coerce(value, one)
    for one in others:
        try:
            return coerce(value, one)
        except BadValue:
            continue
    raise _expected(hint, value)


def _items(value: Any, origin: type, inside: tuple[Any, ...], hint: Any) -> Any:
    if isinstance(value, str):
        value = [item.strip() for item in value.split(",")] if value else []
    elif value is None or isinstance(value, dict):
        raise _expected(hint, value)
    elif not isinstance(value, list | tuple):
        value = [value]
    if origin is tuple and inside[-1] is not Ellipsis:
        if len(value) != len(inside):
            raise _expected(hint, value)
        return tuple(_inside(index, item, inside[index]) for index, item in enumerate(value))
    return origin(_inside(index, item, inside[0]) for index, item in enumerate(value))


def _inside(key: str | int, value: Any, hint: Any) -> Any:
    try:
        return coerce(value, hint)
    except BadValue as error:
        raise BadValue(error.text, (key, *error.path), error.suggestion) from error


def _expected(hint: Any, value: Any) -> BadValue:
    return BadValue(f"expected {article(words(hint))}, got {_shown(value)}")


def article(text: str) -> str:
    """Words of a type with an article, where they take one."""
    if text.startswith(("one of", "true or", "null", "text", "any")):
        return text
    return ("an " if text[0] in "aeiou" else "a ") + text


def _plural(hint: Any) -> str:
    text = words(hint)
    return {"integer": "integers", "number": "numbers", "text": "texts", "any value": "values"}.get(text, text)


def _shown(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
