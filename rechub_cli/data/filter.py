"""``data.filter``: a condition on columns, read by a parser of its own. No code is run.

year == 94 and (country in ["DE", "FR"] or price is not null) and not `is test`
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from difflib import get_close_matches
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rechub_cli.data.types import is_number, is_text, kind, plain
from rechub_cli.errors import SpecError

_TOKEN = re.compile(
    r"""\s*(?:(?P<number>-?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)
    |(?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    |`(?P<quoted>[^`]+)`
    |(?P<word>[^\W\d][\w.]*)
    |(?P<sign>==|!=|<=|>=|<|>|=|\(|\)|\[|\]|,))""",
    re.VERBOSE,
)
_COMPARE: dict[str, Callable[..., Any]] = {
    "==": pc.equal,
    "=": pc.equal,
    "!=": pc.not_equal,
    "<": pc.less,
    "<=": pc.less_equal,
    ">": pc.greater,
    ">=": pc.greater_equal,
}
_WORDS = ("and", "or", "not", "in", "is", "null", "true", "false")
_DEPTH = 50


def mentioned(text: str) -> set[str]:
    """The names that may be columns in a condition."""
    return {match[match.lastgroup] for match in _TOKEN.finditer(text) if match.lastgroup in ("word", "quoted")}


Node = Callable[[pa.Table], Any]


class Filter:
    """A condition over the columns of a schema.

    Attributes:
        columns: those that it needs.

    Raises:
        SpecError: it cannot be read, names no column, or compares things of different types.
    """

    def __init__(self, text: str, schema: pa.Schema) -> None:
        self.text = text
        self.columns: list[str] = []
        self._schema = schema
        self._tokens = self._scan()
        self._next = 0
        self._depth = 0
        self._node = self._either()
        if self._peek()[0] != "end":
            raise self._error("expected `and`, `or` or the end")

    def mask(self, table: pa.Table) -> np.ndarray:
        """For each row whether it is kept; a row for which the condition is null is not."""
        try:
            result = self._node(table)
        except pa.ArrowException as error:
            raise SpecError(f"data.filter: {error}\n\n  {self.text}") from error
        result = result.combine_chunks() if isinstance(result, pa.ChunkedArray) else result
        if isinstance(result, pa.Scalar):
            return np.full(table.num_rows, bool(result.as_py()))
        return np.asarray(pc.fill_null(result, False).to_numpy(zero_copy_only=False))

    def _scan(self) -> list[tuple[str, str, int]]:
        tokens, at, end = [], 0, len(self.text.rstrip())
        while at < end:
            match = _TOKEN.match(self.text, at)
            if match is None:
                blanks = len(self.text[at:]) - len(self.text[at:].lstrip())
                raise self._error("this is not understood", at + blanks)
            what = str(match.lastgroup)
            value, start = match[what], match.start(what)
            if what == "word" and value.lower() in _WORDS:
                what, value = "sign", value.lower()
            tokens.append((what, value, start))
            at = match.end()
        return [*tokens, ("end", "", end)]

    def _either(self) -> Node:
        self._depth += 1
        if self._depth > _DEPTH:
            raise self._error("too deeply nested")
        nodes = [self._both()]
        while self._accept("or"):
            nodes.append(self._both())
        self._depth -= 1
        return _fold(pc.or_kleene, nodes)

    def _both(self) -> Node:
        nodes = [self._negation()]
        while self._accept("and"):
            nodes.append(self._negation())
        return _fold(pc.and_kleene, nodes)

    def _negation(self) -> Node:
        negative = False
        while self._accept("not"):
            negative = not negative
        node = self._comparison()
        return (lambda table: pc.invert(node(table))) if negative else node

    def _comparison(self) -> Node:
        if self._accept("("):
            node = self._either()
            self._expect(")")
            return node
        start = self._peek()[2]
        left, type = self._operand()
        if self._accept("is"):
            negative = self._accept("not")
            self._expect("null")
            return (lambda table: pc.is_valid(left(table))) if negative else (lambda table: pc.is_null(left(table)))
        negative = self._accept("not")
        if negative or self._peek()[1] == "in":
            self._expect("in")
            return self._member(left, type, negative)
        sign = self._peek()
        if sign[0] == "sign" and sign[1] in _COMPARE:
            self._next += 1
            right, other = self._operand()
            left, right = self._fit(left, type, right, other, start)
            compare = _COMPARE[sign[1]]
            return lambda table: compare(left(table), right(table))
        if not pa.types.is_boolean(type):
            raise self._error(f"expected a comparison: this is of kind {kind(type)}", start)
        return left

    def _member(self, left: Node, type: pa.DataType, negative: bool) -> Node:
        close = "]" if self._accept("[") else ")"
        if close == ")":
            self._expect("(")
        values = []
        while True:
            start = self._peek()[2]
            right, other = self._operand()
            if isinstance(right, _Column):
                raise self._error("expected a value", start)
            values.append(self._fit(left, type, right, other, start)[1](None))
            if not self._accept(","):
                break
        self._expect(close)
        among = pa.array([value for value in (_as(value, type) for value in values) if value is not None], type)

        def node(table: pa.Table) -> Any:
            column = left(table)
            held = pc.if_else(pc.is_valid(column), pc.is_in(column, among), pa.scalar(None, pa.bool_()))
            return pc.invert(held) if negative else held

        return node

    def _operand(self) -> tuple[Node, pa.DataType]:
        what, value, start = self._peek()
        self._next += 1
        if what in ("word", "quoted"):
            if value not in self._schema.names:
                close = get_close_matches(value, self._schema.names, 1)
                hint = f"did you mean {close[0]!r}?" if close else "text is written in quotes"
                raise self._error(f"there is no column {value!r}; {hint}", start)
            if value not in self.columns:
                self.columns.append(value)
            return _Column(value), plain(self._schema.field(value).type)
        if what == "number":
            scalar = _number(value)
        elif what == "text":
            scalar = pa.scalar(re.sub(r"\\(.)", r"\1", value[1:-1]))
        elif value in ("true", "false"):
            scalar = pa.scalar(value == "true")
        else:
            raise self._error("expected a column or a value" + ("; write `is null`" if value == "null" else ""), start)
        return _constant(scalar), scalar.type

    def _fit(self, left: Node, type: pa.DataType, right: Node, other: pa.DataType, start: int) -> tuple[Node, Node]:
        """Both sides ready to be compared: text that is compared with a moment becomes one."""
        if is_number(type) and is_number(other):
            if isinstance(left, _Column) and not isinstance(right, _Column):
                right = _constant(_number_like(right(None), type))
            elif isinstance(right, _Column) and not isinstance(left, _Column):
                left = _constant(_number_like(left(None), other))
            return left, right
        same = (is_text(type) and is_text(other)) or type == other
        if same or (pa.types.is_temporal(type) and pa.types.is_temporal(other)):
            return left, right
        for mine, theirs, flip in ((left, other, True), (right, type, False)):
            if isinstance(mine, _Column) or not pa.types.is_temporal(theirs):
                continue
            scalar = mine(None)
            if is_text(scalar.type):
                try:
                    moment = _moment(scalar, theirs)
                except pa.ArrowException:
                    raise self._error(f"{scalar.as_py()!r} is no {kind(theirs)}", start) from None
                return (_constant(moment), right) if flip else (left, _constant(moment))
        raise self._error(f"a {kind(type)} cannot be compared with a {kind(other)}{_hint(type, other)}", start)

    def _peek(self) -> tuple[str, str, int]:
        return self._tokens[self._next]

    def _accept(self, sign: str) -> bool:
        what, value, _ = self._peek()
        if what == "sign" and value == sign:
            self._next += 1
            return True
        return False

    def _expect(self, sign: str) -> None:
        if not self._accept(sign):
            raise self._error(f"expected `{sign}`")

    def _error(self, message: str, at: int | None = None) -> SpecError:
        at = self._peek()[2] if at is None else at
        return SpecError(f"data.filter: {message}\n\n  {self.text}\n  {' ' * at}^")


class _Column:
    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, table: pa.Table) -> Any:
        column = table.column(self.name)
        return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def _constant(value: pa.Scalar) -> Node:
    return lambda table: value


def _number(text: str) -> pa.Scalar:
    if not re.fullmatch(r"-?\d+", text):
        return pa.scalar(float(text))
    for type in (pa.int64(), pa.uint64()):
        with contextlib.suppress(OverflowError, pa.ArrowInvalid):
            return pa.scalar(int(text), type)
    return pa.scalar(float(text))


def _number_like(value: pa.Scalar, type: pa.DataType) -> pa.Scalar:
    """The number as another type; as a float where that type has no such number."""
    try:
        return value.cast(type)
    except pa.ArrowInvalid:
        return value.cast(pa.float64())


def _as(value: pa.Scalar, type: pa.DataType) -> Any:
    """The value as another type; None where that type has no such value."""
    try:
        return value.cast(type).as_py()
    except pa.ArrowInvalid:
        return None


def _fold(combine: Callable[..., Any], nodes: list[Node]) -> Node:
    def node(table: pa.Table) -> Any:
        result = nodes[0](table)
        for other in nodes[1:]:
            result = combine(result, other(table))
        return result

    return node if len(nodes) > 1 else nodes[0]


def _moment(text: pa.Scalar, type: pa.DataType) -> pa.Scalar:
    if pa.types.is_timestamp(type) and type.tz is not None:
        return pc.assume_timezone(text.cast(pa.timestamp(type.unit)), "UTC").cast(type)
    return text.cast(type)


def _hint(type: pa.DataType, other: pa.DataType) -> str:
    return "; write the number in quotes" if is_text(type) and is_number(other) else ""
