"""Conditions on metrics, such as ``logloss <= against.logloss * 1.002``: parsed here, and never run as code.

    condition  = sum (">=" | "<=" | "==" | "!=" | ">" | "<") sum  |  sum "in" sum ".." sum
    sum        = product {("+" | "-") product}
    product    = factor {("*" | "/") factor}
    factor     = number | metric | "against." metric | "drift." measure "." column | "-" factor | "(" sum ")"

They fail closed: a metric that is absent or not a finite number lets nothing pass.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from rechub_cli.errors import CheckFailed, UsageError

AGAINST, DRIFT = "against.", "drift."
DEEPEST, LONGEST = 30, 200  # parentheses and signs within each other; words of a condition
_TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:[0-9]+(?:\.(?!\.)[0-9]*)?|\.[0-9]+)(?:e[-+]?[0-9]+)?)"
    r"|(?P<name>drift\.\w+\.[^\s<>=!]+|(?:against\.)?[^\W\d][\w@\[\]]*)"
    r"|(?P<sign>>=|<=|==|!=|\.\.|[-+*/()<>]))",
    re.IGNORECASE,
)
_COMPARE: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge, "<=": operator.le, "==": operator.eq, "!=": operator.ne, ">": operator.gt, "<": operator.lt,
}  # fmt: skip
_JOIN: dict[str, Callable[[float, float], float]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv,
}  # fmt: skip

Values = Mapping[str, float]  # metrics by name in lower case; those of the other run begin with ``against.``
Expression = Callable[[Values], float]


@dataclass(frozen=True, slots=True)
class Gate:
    """``--require 'auc >= 0.75'``, ``--require 'calibration in 0.95..1.05'``, ``--fail-if 'auc < against.auc'``."""

    flag: str
    text: str
    names: tuple[str, ...]  # the metrics that it is about
    bounds: tuple[tuple[Expression, str, Expression], ...]  # comparisons that hold together
    alone: bool  # the left side is a metric and nothing else

    @classmethod
    def parse(cls, flag: str, text: str) -> Gate:
        """Raises UsageError, with the place, where it is no condition."""
        return _Parser(flag, text).gate()

    def holds(self, values: Values) -> bool | None:
        """None where one of its metrics, or what is made of them, is absent or no finite number."""
        numbers = [(_number(left, values), sign, _number(right, values)) for left, sign, right in self.bounds]
        known = [values.get(name, math.nan) for name in self.names]
        if not all(map(math.isfinite, [*known, *(side for left, _, right in numbers for side in (left, right))])):
            return None
        return all(_COMPARE[sign](left, right) for left, sign, right in numbers)

    def passes(self, values: Values) -> bool:
        """Whatever is asked: what is undefined does not pass."""
        holds = self.holds(values)
        return holds is not None and holds == (self.flag != "--fail-if")

    def told(self, values: Values) -> str:
        """``--require 'auc >= 0.75': auc is 0.71``, and what both sides come to where there is arithmetic."""
        said = ", ".join(f"{name} is {_shown(values.get(name, math.nan))}" for name in self.names)
        if len(self.names) > 1 or not self.alone:
            sides = [f"{_shown(_number(left, values))} {sign} {_shown(_number(right, values))}"
                     for left, sign, right in self.bounds]  # fmt: skip
            said += f"; {' and '.join(sides)}"
        return f"{self.flag} '{self.text}': {said}"

    def to_json(self, values: Values) -> dict[str, Any]:
        return {
            "flag": self.flag,
            "condition": self.text,
            "passed": self.passes(values),
            "values": {name: values.get(name, math.nan) for name in self.names},
        }


def read_gates(require: tuple[str, ...], fail_if: tuple[str, ...], *, against: bool) -> tuple[Gate, ...]:
    """Raises UsageError where one is no condition, or speaks of ``against`` and there is no other run."""
    gates = [Gate.parse("--require", text) for text in require] + [Gate.parse("--fail-if", text) for text in fail_if]
    for gate in gates:
        if not against and any(name.startswith(AGAINST) for name in gate.names):
            raise UsageError(f"{gate.flag} {gate.text!r} speaks of another run: name it with --against RUN")
    return tuple(gates)


def values_of(metrics: Mapping[str, float], against: Mapping[str, float] | None) -> dict[str, float]:
    """What conditions are about."""
    found = {name.lower(): value for name, value in metrics.items()}
    return found | {f"{AGAINST}{name.lower()}": value for name, value in (against or {}).items()}


def check_gates(gates: tuple[Gate, ...], values: Values) -> None:
    """Raises CheckFailed naming every gate that did not let these values pass."""
    failed = [gate.told(values) for gate in gates if not gate.passes(values)]
    if failed:
        raise CheckFailed("\n".join(failed))


def _number(expression: Expression, values: Values) -> float:
    try:
        return expression(values)
    except (ZeroDivisionError, OverflowError):
        return math.nan


def _shown(value: float) -> str:
    return "undefined" if math.isnan(value) else f"{value:.6g}"


class _Parser:
    """One condition, from left to right."""

    def __init__(self, flag: str, text: str) -> None:
        self.flag, self.text = flag, text
        self.names: dict[str, None] = {}
        self.depth = 0
        self.tokens = list(self._split())
        self.at = 0
        if len(self.tokens) > LONGEST:
            self.fail()

    def gate(self) -> Gate:
        left = self.sum()
        alone = self.at == 1 and self.tokens[0][0] == "name"
        sign = self.next()
        if sign in _COMPARE:
            right = self.sum()
            bounds: tuple[tuple[Expression, str, Expression], ...] = ((left, sign, right),)
        elif sign == "in":
            low = self.sum()
            if self.next() != "..":
                self.fail()
            bounds = ((left, ">=", low), (left, "<=", self.sum()))
        else:
            self.fail()
        if self.at < len(self.tokens) or not self.names:
            self.fail()
        return Gate(self.flag, self.text, tuple(self.names), bounds, alone)

    def sum(self) -> Expression:
        return self.chain(self.product, "+-")

    def product(self) -> Expression:
        return self.chain(self.factor, "*/")

    def chain(self, part: Callable[[], Expression], signs: str) -> Expression:
        found = part()
        while self.peek() in tuple(signs):
            found = _joined(_JOIN[self.next()], found, part())
        return found

    def factor(self) -> Expression:
        self.depth += 1
        if self.depth > DEEPEST:
            self.fail()
        kind, word = self.tokens[self.at] if self.at < len(self.tokens) else ("", "")
        self.at += 1
        if kind == "number":
            found = _constant(float(word))
        elif kind == "name" and word != "in":
            self.names[word] = None
            found = _metric(word)
        elif word == "-":
            found = _joined(operator.sub, _constant(0.0), self.factor())
        elif word == "(":
            found = self.sum()
            if self.next() != ")":
                self.fail()
        else:
            self.fail()
        self.depth -= 1
        return found

    def peek(self) -> str:
        return self.tokens[self.at][1] if self.at < len(self.tokens) else ""

    def next(self) -> str:
        word = self.peek()
        self.at += 1
        return word

    def _split(self) -> Iterator[tuple[str, str]]:
        at, text = 0, self.text.rstrip()
        while at < len(text):
            found = _TOKEN.match(text, at)
            if not found:
                self.fail()
            at = found.end()
            yield str(found.lastgroup), found[str(found.lastgroup)].lower()

    def fail(self) -> NoReturn:
        text = self.text if len(self.text) <= 100 else f"{self.text[:99]}…"
        raise UsageError(
            f"{self.flag} {text!r} is no condition: write 'metric >= number', 'metric in low..high'"
            " or 'metric >= against.metric - 0.001'"
        )


def _constant(value: float) -> Expression:
    return lambda values: value


def _metric(name: str) -> Expression:
    return lambda values: values.get(name, math.nan)


def _joined(join: Callable[[float, float], float], left: Expression, right: Expression) -> Expression:
    return lambda values: join(left(values), right(values))
