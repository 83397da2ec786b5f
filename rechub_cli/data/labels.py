"""Labels, weights and groups: checked value by value, because a wrong one spoils a training silently."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rechub_cli.data import ids
from rechub_cli.data.chunk import CHUNK_ROWS
from rechub_cli.errors import DataError
from rechub_cli.spec.model import Label

if TYPE_CHECKING:
    from rechub_cli.data.chunk import Chunk, Rows
    from rechub_cli.data.plan import Plan

_COMPARISONS: dict[str, Callable[[np.ndarray, float], np.ndarray]] = {
    ">=": np.greater_equal,
    "<=": np.less_equal,
    "==": np.equal,
    "!=": np.not_equal,
    ">": np.greater,
    "<": np.less,
}
_RULE = re.compile(r"\s*(>=|<=|==|!=|>|<)\s*(\S+)\s*")


def check(rows: Rows, plan: Plan, progress: Callable[[int], None]) -> None:
    """Look at the labels and weights of all rows, and at no other column; ``progress`` is told the rows so far.

    Raises:
        DataError: a value that is no label or no weight, with its file and row.
    """
    done = 0
    for chunk in rows.tables(plan.label_columns, CHUNK_ROWS):
        check_chunk(chunk, plan)
        done += len(chunk)
        progress(done)


def check_chunk(chunk: Chunk, plan: Plan) -> None:
    """As ``check``."""
    for name, label in plan.labels.items():
        encode_label(chunk, label.column or name, label)
    for column in filter(None, (plan.weight, *plan.label_weights.values())):
        encode_weight(chunk, column)


def encode_label(chunk: Chunk, column: str, label: Label) -> np.ndarray:
    """float32 (n,): 0 or 1 of a classification, the number of a regression; null is NaN, which masks the row.

    Raises:
        DataError: a value that is no label, with its file and row.
    """
    values = ids.whole(chunk.table.column(column))
    if label.positive is not None:
        return _positive(chunk, values, column, label.positive)
    numbers = _numbers(chunk, values, column, "label")
    if label.type == "classification":
        wrong = np.flatnonzero((numbers != 0) & (numbers != 1) & ~np.isnan(numbers))
        if len(wrong):
            row = int(wrong[0])
            raise DataError(
                f"{chunk.locate(row)}: label {column} is {values[row]}, and a classification needs 0 or 1. "
                f'Say which values mean yes (labels.{column}.positive: ">= 4", or one value), or make it a regression.'
            )
    return numbers.astype(np.float32)


def encode_weight(chunk: Chunk, column: str) -> np.ndarray:
    """float32 (n,), none negative, none null."""
    values = ids.whole(chunk.table.column(column))
    numbers = _numbers(chunk, values, column, "weight")
    wrong = np.flatnonzero(~(numbers >= 0))
    if len(wrong):
        row = int(wrong[0])
        raise DataError(f"{chunk.locate(row)}: weight {column} is {values[row]}; a weight must be a number from 0 up")
    return numbers.astype(np.float32)


def encode_group(chunk: Chunk, column: str) -> np.ndarray:
    """int64 (n,): a hash of the id; all nulls are one group."""
    unique, codes = ids.distinct(chunk.table.column(column), column)
    hashes = np.append(ids.stable_hash(unique), np.uint64(0))
    return hashes[codes].view(np.int64)


def _positive(chunk: Chunk, values: pa.Array, column: str, positive: str | int | float | bool) -> np.ndarray:
    rule = _RULE.fullmatch(positive) if isinstance(positive, str) else None
    if rule and (bound := _number(rule[2])) is not None:
        numbers = _numbers(chunk, values, column, "label")
        return np.where(np.isnan(numbers), np.nan, _COMPARISONS[rule[1]](numbers, bound)).astype(np.float32)
    unique, codes = ids.distinct(values, column)
    wanted = ids.canonical(pa.array([positive]), column)
    same = pc.equal(ids.convert(unique, wanted.type, column), wanted[0]).fill_null(False)
    return np.append(same.to_numpy(zero_copy_only=False).astype(np.float32), np.float32(np.nan))[codes]


def _numbers(chunk: Chunk, values: pa.Array, column: str, role: str) -> np.ndarray:
    """float64 (n,), NaN where null and nowhere else."""
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if pa.types.is_temporal(values.type) or pa.types.is_nested(values.type):
        raise DataError(f"{chunk.locate(0)}: {role} {column} is of type {values.type}, not a number")
    try:
        numbers = values.cast(pa.float64(), safe=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        numbers = pa.array(
            [None if value is None else _number(str(value)) for value in values.to_pylist()], pa.float64()
        )
    out = numbers.to_numpy(zero_copy_only=False)
    given = values.is_valid().to_numpy(zero_copy_only=False)
    wrong = np.flatnonzero(~(np.abs(out) <= np.finfo(np.float32).max) & given)
    if len(wrong):
        row = int(wrong[0])
        remedy = f" Say which value means yes: labels.{column}.positive." if pa.types.is_string(values.type) else ""
        raise DataError(f"{chunk.locate(row)}: {role} {column} is {values[row]}, which is not a finite number.{remedy}")
    return out


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
