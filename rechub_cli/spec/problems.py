"""What is wrong with a spec, and where: shown as a compiler would."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from rechub_cli.errors import SpecError
from rechub_cli.spec.document import Path, Span

MOST_SHOWN = 40
WIDEST_LINE = 160
_UNPRINTABLE = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value comes from: a place in the spec, a ``--set``, another flag, or a default."""

    kind: Literal["spec", "set", "flag", "default"]
    file: str = ""  # spec: the file, as the user wrote it
    key: Span | None = None
    value: Span | None = None
    piece: str = ""  # set: the argument; flag: the flag

    def __str__(self) -> str:
        if self.kind == "spec":
            span = self.key or self.value
            return f"{self.file}:{span.line}:{span.column}" if span else self.file
        return {"set": f"--set {self.piece}", "flag": self.piece, "default": "default"}[self.kind]

    @property
    def comment(self) -> str:
        """In short, for the resolved spec: ``spec.yaml:14``, ``--set``, ``--epochs``, ``default``."""
        if self.kind == "spec":
            span = self.value or self.key
            name = self.file.replace("\\", "/").rsplit("/", 1)[-1]
            return printable(f"{name}:{span.line}" if span else name)
        return {"set": "--set", "flag": self.piece, "default": "default"}[self.kind]


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault. ``path`` may name what is not there; the nearest place above it is shown then."""

    path: Path
    text: str
    suggestion: str | None = None
    at: Literal["key", "value"] = "value"
    notes: tuple[str, ...] = ()  # lines below
    span: Span | None = None  # where no path leads: a fault of the YAML itself


def failure(problems: Sequence[tuple[Problem, Origin]], lines: Sequence[str]) -> SpecError:
    """All problems as one error; ``lines`` are those of the spec."""
    distinct = list(dict.fromkeys(_in_order(problems)))
    shown = [_rendered(problem, origin, lines) for problem, origin in distinct[:MOST_SHOWN]]
    if len(distinct) > len(shown):
        shown.append(f"... and {len(distinct) - len(shown)} more")
    count = f"{len(distinct)} problems" if len(distinct) > 1 else "1 problem"
    return SpecError("\n\n".join([f"{count} in the spec", *shown]))


def dotted(path: Path) -> str:
    return ".".join(str(part) for part in path)


def printable(text: str) -> str:
    """Text that cannot move a terminal's cursor."""
    return _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def listed(names: Iterable[str], most: int = 30) -> str:
    """``a, b, c`` and how many more."""
    names = list(names)
    more = f", ... ({len(names) - most} more)" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _in_order(problems: Sequence[tuple[Problem, Origin]]) -> list[tuple[Problem, Origin]]:
    def place(pair: tuple[Problem, Origin]) -> tuple[int, int, int]:
        if pair[1].kind in ("set", "flag"):  # after those of the file, as they come
            return 1, 0, 0
        span = _span(*pair)
        return (0, span.line, span.column) if span else (0, 0, 0)

    return sorted(problems, key=place)


def _span(problem: Problem, origin: Origin) -> Span | None:
    if problem.span or origin.kind != "spec":
        return problem.span
    return (origin.key or origin.value) if problem.at == "key" else (origin.value or origin.key)


def _rendered(problem: Problem, origin: Origin, lines: Sequence[str]) -> str:
    hint = f"did you mean '{problem.suggestion}'?" if problem.suggestion else ""
    what = printable(problem.text)
    notes = [f"  {printable(note)}" for note in problem.notes]
    span = _span(problem, origin)
    if origin.kind in ("set", "flag"):
        prefix = "--set " if origin.kind == "set" else ""
        piece = printable(origin.piece)
        head = f"{prefix}{piece}: {what}" + (f"; {hint}" if hint else "")
        return "\n".join([head, *_under(prefix, piece, problem, origin), *notes])
    path = printable(dotted(problem.path))
    what = f"{path}: {what}" if path else what
    if span is None:
        return "\n".join([printable(f"{origin.file}: ") + what + (f"; {hint}" if hint else ""), *notes])
    hint = hint.replace(f"'{dotted(problem.path[:-1])}.", "'")  # the path stands in the head already
    head = f"{printable(origin.file)}:{span.line}:{span.column}: {what}"
    return "\n".join([head, *_excerpt(span, lines, hint), *notes])


def _under(prefix: str, piece: str, problem: Problem, origin: Origin) -> list[str]:
    """The caret line below the argument that heads a message."""
    span = origin.key if problem.at == "key" else origin.value
    if span is None or not piece.isprintable():
        return []
    return [" " * (len(prefix) + _width(piece[: span.column - 1])) + "^" * max(span.length, 1)]


def _excerpt(span: Span, lines: Sequence[str], hint: str) -> list[str]:
    """The line of a fault below the one before it, with carets."""
    if span.line > len(lines):
        return [f"  {hint}"] if hint else []
    number = len(str(span.line))
    text = lines[span.line - 1]
    start = max(0, span.column - WIDEST_LINE // 2) if len(text) > WIDEST_LINE else 0
    shown = []
    if span.line > 1 and lines[span.line - 2].strip():
        shown.append((str(span.line - 1), lines[span.line - 2][start : start + WIDEST_LINE]))
    shown.append((str(span.line), text[start : start + WIDEST_LINE]))
    before = text[start : span.column - 1]
    marked = text[start : start + WIDEST_LINE][len(before) : len(before) + span.length]
    carets = " " * _width(before) + "^" * max(_width(marked), 1)
    return [
        *(f"  {label:>{number}} | {printable(line).replace(chr(9), ' ')}".rstrip() for label, line in shown),
        f"  {'':>{number}} | {carets} {hint}".rstrip(),
    ]


def _width(text: str) -> int:
    """Columns of a terminal that a text fills."""
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in text)
    combining = sum(unicodedata.combining(letter) > 0 for letter in text)
    return len(text) + wide - combining
