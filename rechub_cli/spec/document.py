"""YAML text -> plain values, and the place of each in the text.

The meaning is that of YAML 1.2's core schema (``1e-3`` is a number; ``no``, ``on``, ``y`` are text), keys
are always text, a key given twice is an error, and what a hostile file could blow up is bounded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

MOST_BYTES = 4_000_000
MOST_VALUES = 200_000  # aliases included, each time they are used
MOST_DEPTH = 40

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml reads twenty times faster
_NULL = re.compile(r"~|null|Null|NULL|")
_TRUE, _FALSE = re.compile(r"true|True|TRUE"), re.compile(r"false|False|FALSE")
_INTEGER = re.compile(r"[-+]?[0-9]+")
_BASED = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?(\.inf|\.Inf|\.INF)|\.nan|\.NaN|\.NAN")
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufffe\uffff]")
_UNSPEAKABLE = re.compile("[\x00\ud800-\udfff]")  # that no file name and no UTF-8 text can hold
_TAG = "tag:yaml.org,2002:"

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Span:
    """Characters of one line; line and column count from 1."""

    line: int
    column: int
    length: int = 1


@dataclass(slots=True)
class Document:
    """A parsed text. ``keys`` and ``values`` say where a path's key and value stand; a list item has no key."""

    data: Any = None
    keys: dict[Path, Span] = field(default_factory=dict)
    values: dict[Path, Span] = field(default_factory=dict)
    plain: dict[Path, str] = field(default_factory=dict)  # unquoted scalars that became something else than text
    faults: list[tuple[str, Span]] = field(default_factory=list)  # what is wrong, though the rest can be read


class BadText(Exception):
    """Not a text this reader takes."""

    def __init__(self, text: str, span: Span | None = None) -> None:
        super().__init__(text)
        self.text, self.span = text, span


def decode(content: bytes) -> str:
    """The text of a file: UTF-8, with or without a byte order mark, any line ends.

    Raises:
        BadText: too large, not UTF-8, or with control characters.
    """
    if len(content) > MOST_BYTES:
        raise BadText(f"the file is larger than {MOST_BYTES:,} bytes")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start].decode("utf-8", "replace")
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        raise BadText(
            f"not UTF-8 text (byte 0x{content[error.start]:02x}); save the file as UTF-8", Span(line, column)
        ) from error
    control = _CONTROL.search(text)
    if control:
        start = control.start()
        span = Span(text.count("\n", 0, start) + 1, start - text.rfind("\n", 0, start))
        raise BadText(f"the control character U+{ord(control[0]):04X} cannot be in a spec", span)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def speakable(text: str) -> bool:
    """Whether a text can be written to a file or name one."""
    return not _UNSPEAKABLE.search(text)


def parse(text: str) -> Document:
    """Raises BadText at the first fault of the YAML, whose place it names."""
    try:
        return _Reader(yaml.parse(text, Loader=_LOADER)).document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        span = Span(mark.line + 1, mark.column + 1) if mark else None
        raise BadText(_explained(error, text, span), span) from error
    except (yaml.YAMLError, UnicodeError) as error:
        raise BadText(f"not YAML: {error}") from error


def scalar(text: str) -> Any:
    """What an unquoted YAML scalar means.

    Raises:
        BadText: a number beyond 64 bits, or infinite, or not a number.
    """
    if _NULL.fullmatch(text):
        return None
    if _TRUE.fullmatch(text):
        return True
    if _FALSE.fullmatch(text):
        return False
    if _INTEGER.fullmatch(text) or _BASED.fullmatch(text):
        if len(text) > 40:
            raise BadText(f"a whole number of {len(text)} digits is too large; quote it if it is text")
        number = int(text, 0) if _BASED.fullmatch(text) else int(text)
        if not -(2**63) <= number < 2**64:
            raise BadText(f"{text} does not fit in 64 bits; quote it if it is text")
        return number
    if _NOT_FINITE.fullmatch(text):
        raise BadText(f"{text} is not a finite number; quote it if it is text")
    if _FLOAT.fullmatch(text):
        value = float(text) if len(text) <= 400 else float("inf")
        if value in (float("inf"), float("-inf")):
            raise BadText("a number this large cannot be held; quote it if it is text")
        return value
    return text


class _Reader:
    """Builds the values of one document from the parser's events."""

    def __init__(self, events: Iterator[Any]) -> None:
        self.events = events
        self.result = Document()
        self.anchors: dict[str, tuple[Any, Path]] = {}
        self.count = 0

    def document(self) -> Document:
        for event in self.events:
            if isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent | yaml.AliasEvent):
                if self.result.values:
                    raise BadText("a second YAML document starts here; a spec is one", _span(event))
                self.result.data = self.value(event, ())
        return self.result

    def value(self, event: Any, path: Path) -> Any:
        self.grow(_span(event), path)
        if isinstance(event, yaml.AliasEvent):
            return self.alias(event, path)
        self.result.values[path] = _span(event)
        value: Any
        if isinstance(event, yaml.ScalarEvent):
            value = self.scalar(event, path)
        elif isinstance(event, yaml.SequenceStartEvent):
            self.check_tag(event, "seq")
            value = []
            while not isinstance(item := next(self.events), yaml.SequenceEndEvent):
                value.append(self.value(item, (*path, len(value))))
        else:
            self.check_tag(event, "map")
            value = self.mapping(path)
        if event.anchor:  # known only from here on, so nothing can hold itself
            self.anchors[event.anchor] = (value, path)
        return value

    def mapping(self, path: Path) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            span = _span(event)
            if not isinstance(event, yaml.ScalarEvent):
                raise BadText("a key must be a plain name", span)
            key = event.value
            self.check_text(key, span)
            if key in found:
                first = self.result.keys[(*path, key)].line
                self.result.faults.append((f"the key '{key}' stands twice (first in line {first})", span))
                self.skip()
                continue
            if key == "<<" and not event.style:
                self.result.faults.append(("merge keys (<<) are not YAML 1.2; write the keys out", span))
            self.result.keys[(*path, key)] = span
            found[key] = self.value(next(self.events), (*path, key))
        return found

    def skip(self) -> None:
        """Pass over one value."""
        depth = 0
        for event in self.events:
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth == 0:
                return

    def scalar(self, event: Any, path: Path) -> Any:
        tag = (event.tag or "").removeprefix(_TAG)
        self.check_text(event.value, _span(event))
        if tag in ("str", "!") or (not tag and event.style):
            return event.value
        if tag not in ("", "int", "float", "bool", "null"):
            self.check_tag(event, "str")
            return event.value
        try:
            value = scalar(event.value)
        except BadText as error:
            self.result.faults.append((error.text, _span(event)))
            return event.value
        if not isinstance(value, str):
            self.result.plain[path] = event.value
        return value

    def check_text(self, text: str, span: Span) -> None:
        if not speakable(text):
            raise BadText("a text cannot hold a null character or half a surrogate pair", span)

    def alias(self, event: Any, path: Path) -> Any:
        if event.anchor not in self.anchors:
            raise BadText(f"the alias *{event.anchor} stands for nothing that is finished before it", _span(event))
        value, source = self.anchors[event.anchor]
        self.result.values[path] = _span(event)
        return self.copy(value, source, path, _span(event))

    def copy(self, value: Any, source: Path, path: Path, span: Span) -> Any:
        """An anchored value once more, its parts placed where they were written."""
        self.grow(span, path)
        for table in (self.result.keys, self.result.values):
            if source in table:
                table.setdefault(path, table[source])
        if source in self.result.plain:
            self.result.plain[path] = self.result.plain[source]
        if isinstance(value, dict):
            return {key: self.copy(item, (*source, key), (*path, key), span) for key, item in value.items()}
        if isinstance(value, list):
            return [self.copy(item, (*source, i), (*path, i), span) for i, item in enumerate(value)]
        return value

    def grow(self, span: Span, path: Path) -> None:
        self.count += 1
        if self.count > MOST_VALUES:
            raise BadText(f"more than {MOST_VALUES:,} values (an alias counts each time it is used)", span)
        if len(path) > MOST_DEPTH:
            raise BadText(f"nested deeper than {MOST_DEPTH} levels", span)

    def check_tag(self, event: Any, kind: str) -> None:
        if event.tag and event.tag not in ("!", _TAG + kind):
            shown = event.tag.replace(_TAG, "!!")
            self.result.faults.append((f"the tag {shown} is not taken: a spec holds plain values only", _span(event)))


def _span(event: Any) -> Span:
    """Where an event stands; what runs over several lines is marked on the first, a collection at its start."""
    start, end = event.start_mark, event.end_mark
    length = end.column - start.column if end.line == start.line else 1
    return Span(start.line + 1, start.column + 1, max(length, 1))


def _explained(error: yaml.MarkedYAMLError, text: str, span: Span | None) -> str:
    problem = error.problem or error.context or str(error)
    lines = text.split("\n")
    line = lines[span.line - 1] if span and span.line <= len(lines) else ""
    if span and line[: span.column].lstrip(" ").startswith("\t"):
        return "a tab cannot indent YAML; use spaces"
    if "mapping values are not allowed" in problem:
        return "a second ':' here; quote the text that holds it, or check the indentation"
    if error.context and error.context != problem:
        problem = f"{error.context}, {problem}"
    return f"not YAML: {problem}"
