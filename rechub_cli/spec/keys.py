"""The keys a spec may have, read from the types of ``spec.model``."""

from __future__ import annotations

import difflib
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from rechub_cli.plugins import values
from rechub_cli.spec.document import Path
from rechub_cli.spec.model import Section, Spec

REQUIRED: Any = PydanticUndefined
NAME = "<name>"  # stands for a key that the user chooses


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a spec: ``features.<name>.embed_dim``."""

    path: str
    type: str  # in words
    default: Any  # REQUIRED where there is none


def options_of(hint: Any) -> list[Any]:
    """The members of a type: those of a union, without ``Annotated`` and without None."""
    if get_origin(hint) is Annotated:
        return options_of(get_args(hint)[0])
    if get_origin(hint) in (Union, types.UnionType):
        return [one for member in get_args(hint) for one in options_of(member)]
    return [] if hint in (None, type(None)) else [hint]


def takes_null(hint: Any) -> bool:
    if get_origin(hint) is Annotated:
        return takes_null(get_args(hint)[0])
    if get_origin(hint) in (Union, types.UnionType):
        return any(takes_null(member) for member in get_args(hint))
    return hint in (None, type(None), Any)


def sections(hint: Any) -> list[type[Section]]:
    return [one for one in options_of(hint) if isinstance(one, type) and issubclass(one, Section)]


def fields(hint: Any, value: Any = None) -> dict[str, FieldInfo]:
    """The fields below a type; of a feature, those of its kind where ``value`` says which."""
    found = sections(hint)
    kinds = [one for one in found if "type" in one.model_fields]
    if len(kinds) > 1 and isinstance(value, Mapping) and "type" in value:
        found = [one for one in found if value["type"] in get_args(one.model_fields["type"].annotation)] or found
    return {name: field for section in found for name, field in section.model_fields.items()}


def items(hint: Any) -> Any:
    """The type of what a list holds; None where the type takes no list."""
    return next((get_args(one)[0] for one in options_of(hint) if get_origin(one) is list), None)


def mapping(hint: Any) -> tuple[Any, Any] | None:
    """The key and value types of a mapping whose keys the user chooses, or some of them."""
    return next((get_args(one) for one in options_of(hint) if get_origin(one) is dict), None)


def hint_at(path: Path, data: Any) -> Any:
    """The type at ``path`` of a spec that holds ``data``; None for a path that no spec has."""
    hint: Any = Spec
    for part in path:
        if Any in options_of(hint):
            return Any
        known = fields(hint, data)
        if part in known:
            hint = known[str(part)].annotation
        elif isinstance(part, int) and items(hint) is not None:
            hint = items(hint)
        elif (pair := mapping(hint)) and (get_origin(pair[0]) is not Literal or part in get_args(pair[0])):
            hint = pair[1]
        else:
            return None
        data = data.get(part) if isinstance(data, dict) else None
    return hint


def default_at(path: Path, data: Any) -> Any:
    """The default of the field at ``path``; None where there is none."""
    *above, last = path
    if (hint := hint_at(tuple(above), data)) is None:
        return None
    for part in above:
        data = data.get(part) if isinstance(data, dict) else None
    field = fields(hint, data).get(str(last))
    if field is None or field.is_required():
        return None
    return field.get_default(call_default_factory=True)


def names_below(path: Path, data: Any) -> list[str]:
    """The keys that may stand directly below ``path``."""
    hint = hint_at(path, data)
    for part in path:
        data = data.get(part) if isinstance(data, dict) else None
    if pair := mapping(hint):
        return [str(one) for one in get_args(pair[0])] if get_origin(pair[0]) is Literal else []
    return list(fields(hint, data))


def all_keys() -> list[Key]:
    """Every key but the options of models, optimizers and schedulers, which are their own."""
    return list(_walk(Spec, ""))


def similar(path: Path, data: Any) -> str | None:
    """The full path of the key that was probably meant by one that does not exist."""
    *above, last = path
    prefix = "".join(f"{part}." for part in above)
    near = {name.lower(): name for name in names_below(tuple(above), data)}
    if guess := difflib.get_close_matches(str(last).lower(), near, 1, 0.6):
        return prefix + near[guess[0]]
    wanted = prefix + str(last)
    elsewhere = ["trainer.optimizer_params.lr", "trainer.optimizer_params.weight_decay"]
    elsewhere += [key.path for key in all_keys() if NAME not in key.path]
    for key in elsewhere:
        if key.rpartition(".")[2] == str(last).lower():
            return key
    others = [key for key in elsewhere if not wanted.startswith(key)]
    guess = difflib.get_close_matches(wanted, others, 1, 0.8)
    return guess[0] if guess else None


def _walk(hint: Any, prefix: str) -> Iterator[Key]:
    seen = set()
    for section in sections(hint):
        for name, field in section.model_fields.items():
            path = prefix + name
            words = type_words(field.annotation)
            if name == "type" and len(sections(hint)) > 1:
                words = "one of " + ", ".join(
                    str(get_args(one.model_fields["type"].annotation)[0]) for one in sections(hint)
                )
            if path not in seen:
                seen.add(path)
                default = REQUIRED if field.is_required() else field.get_default(call_default_factory=True)
                yield Key(path, words, default)
                yield from _walk(field.annotation, f"{path}.")
                pair, item = mapping(field.annotation), items(field.annotation)
                if pair and sections(pair[1]):
                    yield from _walk(pair[1], f"{path}.{NAME}.")
                elif item is not None:
                    yield from _walk(item, f"{path}.0.")


def type_words(hint: Any) -> str:
    """A type as a user reads it."""
    words = []
    for one in options_of(hint):
        if isinstance(one, type) and issubclass(one, Section):
            words.append("mapping")
        elif get_origin(one) is dict and get_origin(get_args(one)[0]) is Literal:
            inside = " or ".join(f"{name}: {type_words(get_args(one)[1])}" for name in get_args(get_args(one)[0]))
            words.append(f"mapping {{{inside}}}" if len(inside) < 60 else "mapping")
        elif get_origin(one) is list:
            words.append(f"list of {type_words(items(one))}")
        else:
            words.append(values.words(one))
    if takes_null(hint) and hint is not Any:
        words.append("null")
    return " or ".join(dict.fromkeys(words))
