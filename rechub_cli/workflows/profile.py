"""What a table's columns hold: counts of their values, and what part each can play in a click model."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rechub_cli.data.types import kind, plain

# Words of a column's name that tell what its values are.
# fmt: off
IDS = {
    "id", "uid", "gid", "code", "zip", "zipcode", "sku", "hash", "key", "category", "cat", "brand", "type", "class",
    "gender", "sex", "city", "country", "state",
}
NUMBERS = {
    "age", "price", "cost", "amount", "count", "cnt", "counts", "num", "number", "qty", "quantity", "ratio", "rate",
    "duration", "seconds", "secs", "minutes", "days", "income", "salary", "length", "size", "width", "height",
    "weight", "score", "avg", "mean", "sum", "total", "max", "min", "pct", "percent", "clicks", "views",
    "impressions", "distance", "balance",
}
MOMENTS = {"timestamp", "ts", "time", "datetime", "date", "day", "dt", "at"}
# fmt: on
SINGLE = ("string", "integer", "float", "bool", "timestamp", "date")  # kinds of one value a cell, which has an order
SEPARATORS = "|;^,~ "
EPOCH = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
SINCE, UNTIL = 631_152_000, 2_208_988_800  # 1990 and 2040, in seconds since 1970


def words(name: str) -> list[str]:
    """``userAge_2`` -> [user, age, 2]"""
    return [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+", name)]


@dataclass(frozen=True, slots=True)
class Column:
    """One column, counted.

    Attributes:
        kind: of its type, as ``data.types.kind`` names them; integral floats are integers.
        rows: how many were looked at.
        missing: how many of them are null, NaN or empty text.
        values: the distinct values, in rising order; none where the kind is not of SINGLE.
        counts: int64, how often each occurs.
    """

    name: str
    kind: str
    rows: int
    missing: int
    values: pa.Array
    counts: np.ndarray
    type: pa.DataType

    @classmethod
    def of(cls, name: str, column: pa.ChunkedArray) -> Column:
        of_kind = kind(column.type)
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        rows = len(column)
        if of_kind not in SINGLE:
            empty = column.null_count
            return cls(name, of_kind, rows, empty, pa.array([], pa.null()), np.zeros(0, np.int64), column.type)
        if of_kind == "string":
            column = pc.utf8_trim_whitespace(column)
            column = column.filter(pc.not_equal(column, ""))
        elif of_kind == "float":
            column = column.cast(pa.float64())
            column = column.filter(pc.is_finite(column))
        column = column.drop_null()
        counted = pc.value_counts(column)
        values, counts = counted.field("values"), counted.field("counts").to_numpy(zero_copy_only=False)
        order = pc.sort_indices(values)
        values, counts = values.take(order), counts[order.to_numpy()]
        if of_kind == "float" and len(values) and bool(np.all(values.to_numpy() % 1 == 0)):
            of_kind = "integer"
        return cls(name, of_kind, rows, rows - len(column), values, counts, column.type)

    @property
    def distinct(self) -> int:
        return len(self.values)

    @property
    def present(self) -> int:
        return self.rows - self.missing

    @property
    def words(self) -> list[str]:
        return words(self.name)

    def numbers(self) -> np.ndarray:
        """float64 (distinct,): the distinct values of a numeric column, rising."""
        values = self.values.cast(pa.float64(), safe=False)
        return values.to_numpy(zero_copy_only=False)

    def quantiles(self, *shares: float) -> list[float]:
        """Of the rows' numbers, not of the distinct ones."""
        cumulative = np.cumsum(self.counts)
        places = np.searchsorted(cumulative, np.asarray(shares) * cumulative[-1])
        return self.numbers()[places.clip(max=self.distinct - 1)].tolist()

    def is_binary(self) -> bool:
        """Whether it holds 0 and 1 and nothing else."""
        if self.kind == "bool":
            return self.distinct == 2
        return self.kind == "integer" and self.distinct == 2 and self.numbers().tolist() == [0, 1]

    def epoch(self) -> str | None:
        """The unit of numbers that count time since 1970, or None: such numbers all fall between 1990 and 2040."""
        if self.kind != "integer" or self.distinct < 3:
            return None
        values = self.numbers()
        for unit, per_second in EPOCH.items():
            if values[0] >= SINCE * per_second and values[-1] <= UNTIL * per_second:
                # Large ids may fall there too: without a name that tells, only moments of seconds are believed.
                return unit if MOMENTS & set(self.words) else None
        return None

    def is_category(self) -> bool:
        """Whether whole numbers are ids rather than amounts.

        A name often tells. Where it does not: few values are categories; ids lie evenly over their range, because
        somebody dealt them out, amounts crowd somewhere.
        """
        named = set(self.words)
        if self.distinct <= 2 or named & IDS:
            return True
        if named & NUMBERS:
            return False
        values = self.numbers()
        span = values[-1] - values[0]
        if self.distinct <= 12 or values[-1] > 2**53:
            return True
        even = np.linspace(0, 1, self.distinct)
        return bool(np.abs((values - values[0]) / span - even).max() < 0.12)

    def separator(self) -> str | None:
        """What divides the cells of a text column into several values, or None where they hold one.

        Several values repeat across cells: the pieces are far fewer kinds than the cells.
        """
        if self.kind != "string" or self.distinct < 5:
            return None
        for separator in SEPARATORS:
            divided = pc.match_substring(self.values, separator).to_numpy(zero_copy_only=False)
            if self.counts[divided].sum() < 0.2 * self.present:
                continue
            pieces = pc.list_flatten(pc.split_pattern(self.values, separator))
            if len(pc.unique(pieces)) < 0.5 * self.distinct and (separator not in ", " or _alike(pieces)):
                return separator
        return None

    def is_free_text(self) -> bool:
        """Whether it is text to be read, an address or the like, rather than a name that comes again."""
        if self.kind != "string" or not self.distinct:
            return False
        if pc.starts_with(self.values[0], "http").as_py() and pc.starts_with(self.values[-1], "http").as_py():
            return True
        length = float(pc.mean(pc.utf8_length(self.values)).as_py())
        spaced = float(pc.mean(pc.match_substring(self.values, " ").cast(pa.int8())).as_py())
        return length > 60 or (spaced > 0.5 and length > 20 and self.distinct > 0.2 * self.present)


def _alike(pieces: pa.Array) -> bool:
    """Whether pieces are ids and not the words of a sentence: numbers, or words without blanks that begin alike."""
    kept = pc.unique(pieces).drop_null()
    return bool(pc.mean(pc.match_substring_regex(kept, r"^\w*\d\w*$").cast(pa.int8())).as_py() > 0.9)


def without_dictionaries(table: pa.Table) -> pa.Table:
    """Text as text: Arrow cannot do everything with dictionaries that differ from chunk to chunk."""
    for place, field in enumerate(table.schema):
        if plain(field.type) != field.type:  # no others: Arrow casts slices of lists of nulls to something broken
            table = table.set_column(place, field.name, table.column(place).cast(plain(field.type)))
    return table


def same_thing(table: pa.Table, one: Column, other: Column) -> bool:
    """Whether each value of one column stands beside one value of the other: two names for the same things."""
    most = max(one.distinct, other.distinct)
    if min(one.distinct, other.distinct) < 0.9 * most or one.name == other.name:
        return False
    return bool(pairs(table, one.name, other.name).num_rows <= 1.1 * most)


def pairs(table: pa.Table, one: str, other: str) -> pa.Table:
    """The different pairs of two columns, as ``one`` and ``other``: Arrow takes a name such as ``.a`` for a path."""
    both = table.select([one, other]).rename_columns(["one", "other"])
    return both.group_by(["one", "other"]).aggregate([])


def number_options(column: Column) -> dict[str, Any]:
    """The transform that suits a number's distribution."""
    low, median, high = column.quantiles(0.01, 0.5, 0.99)
    top = float(column.numbers()[-1])
    above, below = high - median, median - low
    if above > 4 * below and low > -0.1 * high:
        return {"transform": "log1p"} if top > 10 else {"transform": "quantile"}
    return {"transform": "quantile"} if below > 4 * above and above >= 0 else {}
