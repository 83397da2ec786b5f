"""Plain values -> a Spec, or everything that is wrong with them."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from rechub_cli.plugins.values import article
from rechub_cli.spec import keys
from rechub_cli.spec.document import Path
from rechub_cli.spec.model import Spec
from rechub_cli.spec.problems import MOST_SHOWN, Problem, listed


def validate(data: dict[str, Any], plain: Mapping[Path, str]) -> tuple[Spec | None, list[Problem]]:
    """The spec that ``data`` makes, and its problems; there is a spec where there are none.

    ``plain`` gives the source text of unquoted scalars, for where text is due: ``group: 2024`` is a column.
    """
    spec, errors = _attempt(data)
    texts = [path for path, error in errors if error["type"] == "string_type" and plain.get(path)]
    for path in texts:
        if _get(data, path) is not None:
            _put(data, path, plain[path])
    if texts:
        spec, errors = _attempt(data)
    problems = _merged(errors, data)
    problems += _booleans(data, data, ())
    return (None if problems else spec), problems


def pruned(data: dict[str, Any], problems: list[Problem]) -> dict[str, Any]:
    """A copy of ``data`` without the parts that are at fault, so that the rest can be checked too."""
    faulty = set()
    for path in (problem.path for problem in problems):
        above = _get(data, path[:-1])
        lacking = isinstance(above, dict) and path[-1] not in above  # then its surroundings cannot stay
        faulty.add(path[:-1] if lacking and len(path) > 1 else path)

    def copied(value: Any, path: Path) -> Any:
        if isinstance(value, dict):
            return {key: copied(item, (*path, key)) for key, item in value.items() if (*path, key) not in faulty}
        if isinstance(value, list):
            return [copied(item, (*path, i)) for i, item in enumerate(value) if (*path, i) not in faulty]
        return value

    return copied(data, ())


def _attempt(data: dict[str, Any]) -> tuple[Spec | None, list[tuple[Path, Any]]]:
    try:
        return Spec.model_validate(data), []
    except ValidationError as error:
        return None, [(_path(fault["loc"], data), fault) for fault in error.errors(include_url=False)]


def _path(location: tuple[int | str, ...], data: Any) -> Path:
    """Where a pydantic location leads in the data: names of types and of union branches are no part of it."""
    path: Path = ()
    for index, part in enumerate(location):
        tag_of_feature = index == 2 and path[:1] == ("features",)
        inside = isinstance(data, dict) and part in data and not tag_of_feature
        if inside or (isinstance(data, list) and isinstance(part, int) and part < len(data)):
            data = data[part]
        elif index < len(location) - 1 or not isinstance(data, dict) or keys.hint_at((*path, part), {}) is None:
            continue  # otherwise it is a key that is missing
        path = (*path, part)
    return path


def _merged(errors: list[tuple[Path, Any]], data: Any) -> list[Problem]:
    """One problem for each path; where a union failed in several ways, the way that went deepest."""
    above = {path[:length] for path, _ in errors for length in range(len(path))}
    problems: dict[Path, Problem] = {}
    for path, error in errors:
        if path in problems or (path in above and error["type"] in _SHAPES):
            continue
        shown = (
            len(problems) < MOST_SHOWN or error["type"] == "missing"
        )  # guesses take time, and nobody sees the thousandth
        problems[path] = _problem(path, error, data) if shown else Problem(path, error["msg"])
    return list(problems.values())


_SHAPES = {
    "literal_error",
    "dict_type",
    "list_type",
    "string_type",
    "model_type",
    "int_type",
    "float_type",
    "bool_type",
}


def _problem(path: Path, error: Any, data: Any) -> Problem:
    value, kind = _get(data, path), error["type"]
    hint = keys.hint_at(path, data)
    if kind == "extra_forbidden" or error["loc"][-1:] == ("[key]",):
        return unknown_key(path, data)
    if kind == "missing":
        return Problem(path, f"is required ({keys.type_words(hint)})", at="key")
    if kind.startswith("union_tag") or (len(path) == 2 and path[0] == "features" and not isinstance(value, dict)):
        return _feature_type(path, value)
    if kind == "literal_error" and isinstance(value, str) and keys.mapping(hint) is None:
        choices = _choices(hint)
        guess = difflib.get_close_matches(value.lower(), choices, 1, 0.5)
        return Problem(path, f"{_shown(value)} is not one of {', '.join(choices)}", guess[0] if guess else None)
    limits = {
        "greater_than": "above",
        "greater_than_equal": "at least",
        "less_than": "below",
        "less_than_equal": "at most",
    }
    if kind in limits:
        return Problem(
            path, f"must be {limits[kind]} {_plain_number(next(iter(error['ctx'].values())))}, not {_shown(value)}"
        )
    if kind == "string_too_short":
        return Problem(path, "must not be empty")
    if hint is None:
        return Problem(path, f"{error['msg'][:1].lower()}{error['msg'][1:]}")
    return Problem(path, f"expected {article(keys.type_words(hint))}, got {_shown(value)}")


def unknown_key(path: Path, data: Any) -> Problem:
    guess = keys.similar(path, data)
    known = keys.names_below(path[:-1], data)
    text = f"unknown key '{path[-1]}'"
    if guess is None and known:
        text += f"; known here: {listed(known)}"
    return Problem(path, text, guess, at="key")


def _feature_type(path: Path, value: Any) -> Problem:
    types = [str(name) for name in _feature_types()]
    if not isinstance(value, dict):
        return Problem(path, f"expected a mapping such as {{type: sparse}}, got {_shown(value)}", at="key")
    if "type" not in value:
        return Problem(path, f"has no type; add 'type:' with one of {', '.join(types)}", at="key")
    guess = difflib.get_close_matches(str(value["type"]).lower(), types, 1, 0.5)
    text = f"{_shown(value['type'])} is not one of {', '.join(types)}"
    return Problem((*path, "type"), text, guess[0] if guess else None)


def _feature_types() -> list[str]:
    pair = keys.mapping(Spec.model_fields["features"].annotation)
    assert pair is not None
    return [_choices(section.model_fields["type"].annotation)[0] for section in keys.sections(pair[1])]


def _choices(hint: Any) -> list[str]:
    return [
        str(choice)
        for one in keys.options_of(hint)
        for choice in getattr(one, "__args__", ())
        if isinstance(choice, str)
    ]


def _booleans(data: Any, below: Any, path: Path) -> list[Problem]:
    """true and false where a number is due; pydantic takes them for 1 and 0."""
    if isinstance(below, dict | list):
        pairs = below.items() if isinstance(below, dict) else enumerate(below)
        return [problem for part, item in pairs for problem in _booleans(data, item, (*path, part))]
    hint = keys.hint_at(path, data) if isinstance(below, bool) else None
    kinds = keys.options_of(hint)
    if not kinds or bool in kinds or Any in kinds or not {int, float} & set(kinds):
        return []
    return [Problem(path, f"expected {article(keys.type_words(hint))}, got {_shown(below)}")]


def _get(data: Any, path: Path) -> Any:
    for part in path:
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            return None
    return data


def _put(data: Any, path: Path, value: Any) -> None:
    for part in path[:-1]:
        data = data[part]
    data[path[-1]] = value


def _plain_number(number: float) -> str:
    return f"{number:g}"


def _shown(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
