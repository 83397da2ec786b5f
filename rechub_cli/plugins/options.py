"""The options of a plugin, read from its signature, and a user's values checked against them."""

from __future__ import annotations

import ast
import difflib
import inspect
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Never, Union

from rechub_cli.errors import SpecError
from rechub_cli.plugins.registry import KINDS, Plugin, find, load
from rechub_cli.plugins.source import Unreadable, class_body, definition, literal, resolve
from rechub_cli.plugins.values import BadValue, coerce, words

REQUIRED: Any = object()
_PLAIN = {"int": int, "float": float, "bool": bool, "str": str, "None": None, "Any": Any, "object": Any}
_LISTS = {"list", "List", "Sequence", "Iterable", "Collection"}
_MAPPINGS = {"dict", "Dict", "Mapping", "MutableMapping"}


@dataclass(frozen=True, slots=True)
class Option:
    """One keyword of a plugin."""

    name: str
    hint: Any  # a type as ``typing`` writes it; Any where the source does not say
    default: Any = REQUIRED

    @property
    def required(self) -> bool:
        return self.default is REQUIRED

    @property
    def type(self) -> str:
        """In words: "integer", "list of numbers", "one of relu, dice"."""
        return words(self.hint)


@dataclass(frozen=True, slots=True)
class OptionProblem:
    """What is wrong with one option; ``path`` starts with its name, list positions follow."""

    path: tuple[str | int, ...]
    text: str
    suggestion: str | None = None
    unknown: bool = False  # the name is at fault, not the value


class Options(dict[str, Option]):
    """Options by name, in the signature's order; ``open`` where it takes any other keyword too."""

    open = False


def options(kind: str, name: str, base: Path | None = None) -> Options:
    """The options of a plugin; it is imported only where its source cannot tell them.

    Raises:
        SpecError: there is no such plugin.
        Unavailable: it had to be imported, and could not be.
    """
    return options_of(find(kind, name, base), base)


def options_of(plugin: Plugin, base: Path | None = None) -> Options:
    try:
        found, path = definition(plugin)
        if isinstance(found, ast.FunctionDef):
            return _from_source(found.args, path, False)
        return _from_source(*_constructor(found, path), True)
    except Unreadable:
        name = plugin.name if not plugin.module else f"{plugin.module}:{plugin.attribute}"
        return _from_object(load(plugin.kind, name, base))


def check_options(
    kind: str, name: str, params: Mapping[str, Any], base: Path | None = None
) -> tuple[dict[str, Any], list[OptionProblem]]:
    """``params`` in the types of the signature, and everything that is wrong with them."""
    return check_values(options(kind, name, base), params, f"{KINDS[find(kind, name, base).kind]} '{name}'")


def check_values(known: Options, params: Mapping[str, Any], owner: str) -> tuple[dict[str, Any], list[OptionProblem]]:
    """As ``check_options``, for options that are already at hand; ``owner`` names their plugin in messages."""
    checked: dict[str, Any] = {}
    problems = []
    for name, value in params.items():
        if name not in known and not known.open:
            guess = difflib.get_close_matches(name, known, 1, 0.6)
            text = f"{owner} has no option '{name}'"
            if not guess:
                text += f"; its options: {', '.join(known) or 'none'}"
            problems.append(OptionProblem((name,), text, guess[0] if guess else None, True))
            continue
        try:
            checked[name] = coerce(value, known[name].hint) if name in known else value
        except BadValue as error:
            problems.append(OptionProblem((name, *error.path), error.text, error.suggestion))
    for option in known.values():
        if option.required and option.name not in params:
            problems.append(OptionProblem((option.name,), f"{owner} needs the option '{option.name}' ({option.type})"))
    return checked, problems


def _constructor(found: ast.ClassDef, path: Path) -> tuple[ast.arguments, Path]:
    for body, file in class_body(found, path):
        for node in body:
            if isinstance(node, ast.FunctionDef) and node.name == "__init__":
                return node.args, file
    if found.decorator_list or found.bases:  # a dataclass, or bases that could not be read
        raise Unreadable(f"{found.name} has no constructor of its own")
    return ast.parse("lambda self: 0", mode="eval").body.args, path  # type: ignore[attr-defined]


def _from_source(arguments: ast.arguments, path: Path, of_class: bool) -> Options:
    """Keyword-only parameters; of a class also the positional ones, save what it is made from (a schema)."""
    pairs: list[tuple[ast.arg, ast.expr | None]] = []
    if of_class:
        positional = [*arguments.posonlyargs, *arguments.args]
        defaults = [None] * (len(positional) - len(arguments.defaults)) + arguments.defaults
        pairs = [*zip(positional, defaults, strict=True)][1:]  # the first is self
        pairs = pairs[1:] if pairs and pairs[0][1] is None else pairs
    pairs += zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    found = Options()
    for argument, default in pairs:
        hint = _hint(argument.annotation, path) if argument.annotation else Any
        found[argument.arg] = Option(argument.arg, hint, REQUIRED if default is None else literal(default))
    found.open = arguments.kwarg is not None
    return found


def _from_object(loaded: Any) -> Options:
    """The same from a class or function that is imported already."""
    function = loaded.__init__ if isinstance(loaded, type) else loaded  # type: ignore[misc]
    try:
        signature = inspect.signature(loaded)
    except (TypeError, ValueError) as error:
        raise SpecError(f"the options of {loaded!r} cannot be read: {error}") from error
    try:
        hints = typing.get_type_hints(function)
    except Exception:  # annotations of a stranger's code may name anything
        hints = {}
    found = Options()
    for index, (name, parameter) in enumerate(signature.parameters.items()):
        subject = index == 0 and parameter.default is parameter.empty
        if parameter.kind is parameter.VAR_KEYWORD:
            found.open = True
        elif parameter.kind is parameter.KEYWORD_ONLY or (
            isinstance(loaded, type) and parameter.kind is parameter.POSITIONAL_OR_KEYWORD and not subject
        ):
            default = REQUIRED if parameter.default is parameter.empty else parameter.default
            found[name] = Option(name, hints.get(name, Any), default)
    return found


def _hint(node: ast.expr, path: Path, depth: int = 8) -> Any:
    """The type an annotation stands for; Any where it is not one that a YAML value can be checked against."""
    if depth == 0:
        return Any
    match node:
        case ast.Constant(value=None):
            return None
        case ast.Constant(value=str(text)):
            try:
                return _hint(ast.parse(text, mode="eval").body, path, depth - 1)
            except SyntaxError:
                return Any
        case ast.BinOp(op=ast.BitOr()):
            return _union([_hint(side, path, depth - 1) for side in _sides(node)])
        case ast.Subscript(value=ast.Name(id=name) | ast.Attribute(attr=name), slice=inner):
            return _generic(name, inner.elts if isinstance(inner, ast.Tuple) else [inner], path, depth)
        case ast.Name(id="Tensor") | ast.Attribute(attr="Tensor"):
            return Never  # nothing a spec can say
        case ast.Name(id=name) | ast.Attribute(attr=name) if name in _PLAIN:
            return _PLAIN[name]
        case ast.Name(id=name) | ast.Attribute(attr=name) if name in _LISTS:
            return list[Any]
        case ast.Name(id=name) | ast.Attribute(attr=name) if name in _MAPPINGS:
            return dict[str, Any]
        case ast.Name(id="tuple"):
            return tuple[Any, ...]
        case ast.Name(id=name):
            try:
                meaning, where = resolve(path, name)
            except Unreadable:
                return Any
            return _hint(meaning, where, depth - 1) if isinstance(meaning, ast.expr) else Any
    return Any


def _generic(name: str, inner: list[ast.expr], path: Path, depth: int) -> Any:
    if name == "Literal":
        try:
            return Literal[tuple(literal(one) for one in inner)]
        except Unreadable:
            return Any
    hints = [... if _is_ellipsis(one) else _hint(one, path, depth - 1) for one in inner]
    if name == "Optional":
        return _union([hints[0], None])
    if name == "Union":
        return _union(hints)
    if name in _LISTS:
        return list[hints[0]]  # type: ignore[valid-type]
    if name in ("tuple", "Tuple"):
        return tuple[tuple(hints)]  # type: ignore[misc]
    if name in _MAPPINGS and len(hints) == 2:
        return dict[hints[0], hints[1]]  # type: ignore[valid-type]
    return _hint(inner[0], path, depth - 1) if name in ("Annotated", "Final") else Any


def _sides(node: ast.expr) -> Iterator[ast.expr]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        yield from _sides(node.left)
        yield from _sides(node.right)
    else:
        yield node


def _union(hints: Sequence[Any]) -> Any:
    sayable = tuple(hint for hint in hints if hint is not Never)
    return Any if Any in sayable or not sayable else Union[sayable]  # noqa: UP007


def _is_ellipsis(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, types.EllipsisType)
