"""Which column is the label, the user, the moment, and what feature each of the others makes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rechub_cli.data.types import kind, plain
from rechub_cli.errors import UsageError
from rechub_cli.workflows.profile import SINGLE, Column, number_options, same_thing, words

# Names, the likeliest first. Outcomes other than the label are known only after the fact, so they are no features.
# fmt: off
OUTCOMES = (
    "click", "clicked", "clk", "is_click", "label", "target", "y", "response", "conversion", "converted",
    "is_conversion", "purchase", "purchased", "buy", "bought", "order_placed", "install", "installed", "like",
    "liked", "is_like", "favorite", "rating", "ratings", "stars", "watch_time", "play_time", "dwell_time",
    "watch_ratio", "outcome",
)
USERS = (
    "user_id", "user", "uid", "userid", "member_id", "customer_id", "customer", "visitor_id", "account_id",
    "reviewer_id",
)
ITEMS = (
    "item_id", "item", "iid", "itemid", "movie_id", "product_id", "product", "sku", "ad_id", "adgroup_id",
    "creative_id", "article_id", "news_id", "video_id", "song_id", "track_id", "book_id", "asin",
)
WEIGHTS = ("weight", "sample_weight", "row_weight")
TIMES = (
    "timestamp", "ts", "time", "datetime", "event_time", "event_ts", "time_stamp", "created_at", "click_time",
    "log_time", "date", "dt", "day",
)
# fmt: on
RARE = 10  # rows of a value; fewer teach little, and the rows of unseen values learn from them
POSITIVE = {"yes", "y", "true", "t", "click", "clicked", "1", "positive", "pos"}


@dataclass(frozen=True, slots=True)
class Roles:
    label: Column | None = None
    others: tuple[Column, ...] = ()  # further outcomes
    user: Column | None = None
    item: Column | None = None
    time: Column | None = None
    weight: Column | None = None
    several: bool = False  # the further outcomes are labels too

    @property
    def labels(self) -> tuple[Column, ...]:
        found = (self.label, *self.others) if self.several else (self.label,)
        return tuple(column for column in found if column)

    @property
    def taken(self) -> set[str]:
        """Columns that are no features at all."""
        return {column.name for column in (*self.labels, self.weight) if column}

    def known_later(self, table: pa.Table) -> bool:
        """Whether a split by time makes sense: most of the latest rows' users (or items) occur earlier too."""
        if self.time is None:
            return False
        who = self.user or self.item
        if who is None:
            return True
        order = pc.sort_indices(table[self.time.name])
        names = table[who.name].cast(plain(table.schema.field(who.name).type)).take(order)
        cut = int(0.9 * len(names))
        return bool(pc.mean(pc.is_in(names[cut:], pc.unique(names[:cut])).cast(pa.int8())).as_py() >= 0.5)


def roles(columns: list[Column], table: pa.Table, label: str | None = None, several: bool = False) -> Roles:
    """Raises UsageError where no column can be the label; with ``several``, where fewer than two can."""
    named = {"_".join(words(column.name)): column for column in columns}

    def first(names: Any, test: Any = lambda column: True) -> Column | None:
        return next((named[name] for name in names if name in named and test(named[name])), None)

    outcomes = [named[name] for name in OUTCOMES if name in named and _can_be_label(named[name])]
    if label is not None:
        asked = [name.strip() for name in label.split(",")] if several else [label]
        chosen = [column for name in asked for column in columns if column.name == name]
        if lacking := [name for name in asked if name not in table.column_names]:
            raise UsageError(f"the data has no column {lacking[0]!r}; its columns: {', '.join(table.column_names)}")
    else:
        chosen = outcomes or [column for column in columns if column.is_binary()]
        if not outcomes and len(chosen) != 1:
            found = ", ".join(column.name for column in chosen) or "none"
            raise UsageError(
                f"which column is the label? None is called click, label, rating or the like, and of 0 and 1: {found}."
                f" Say it with --label. The columns: {', '.join(table.column_names)}"
            )
    known = {column.name for column in (*chosen, *outcomes)}
    late = [column for column in columns if column.name not in known and is_after(column.name, chosen[0], table)]
    others = [column for column in (*outcomes, *late) if column.name != chosen[0].name]
    if several:
        others = chosen[1:] if label is not None else [column for column in others if _can_be_label(column)]
        if not others:
            raise UsageError(
                f"several labels are learnt together, and only {chosen[0].name} looks like one; name them:"
                f" --label {chosen[0].name},OTHER. The columns: {', '.join(table.column_names)}"
            )
    weight = first(WEIGHTS, lambda column: column.kind in ("integer", "float"))
    return Roles(
        label=chosen[0],
        others=tuple(others),
        several=several,
        user=first(USERS, can_be_id),
        item=first(ITEMS, can_be_id),
        time=first(TIMES, lambda column: column.kind in ("timestamp", "date") or column.epoch() is not None),
        weight=weight,
    )


def can_be_id(column: Column) -> bool:
    """Whether its cells hold one value each."""
    return column.kind in SINGLE


def _can_be_label(column: Column) -> bool:
    if column.distinct < 2:
        return False
    return column.kind in ("bool", "integer", "float") or (column.kind == "string" and column.distinct == 2)


def is_after(name: str, label: Column, table: pa.Table) -> bool:
    """Whether a column has values exactly where the label is 1, or is 1 only there: then it comes after it."""
    if label.name == name or not label.is_binary():
        return False
    yes = pc.equal(table[label.name].cast(pa.float64()), 1).fill_null(False)
    column = table[name]
    if column.null_count:
        return bool(pc.all(pc.equal(column.is_valid(), yes)).as_py())
    if not (pa.types.is_integer(column.type) or pa.types.is_boolean(column.type)):
        return False
    happened = pc.not_equal(column.cast(pa.float64(), safe=False), 0)
    often = (pc.sum(happened).as_py() or 0) >= RARE
    return often and bool(pc.all(pc.or_(pc.invert(happened), yes)).as_py())


def several_options(column: Column, part_of: Roles, table: pa.Table) -> tuple[dict[str, Any], str]:
    """One label among several: numbers of many values are learnt as they are."""
    if column.kind in ("integer", "float") and column.distinct > 2:
        low, high = column.quantiles(0, 1)
        options, note = {"type": "regression"}, f"{low:g} to {high:g}"
    else:
        made, note = label_options(column)
        options = {"type": "classification", **made}
    before = [one.name for one in part_of.labels if one is not column and is_after(column.name, one, table)]
    if before and not any(is_after(name, column, table) for name in before):
        options["after"] = before[-1]
        note += f"; only where {before[-1]} is 1"
    return options, note


def label_options(column: Column) -> tuple[dict[str, Any], str]:
    """What makes the column 0 and 1, and a comment with the share of positive rows."""
    counts = column.counts
    if column.kind == "bool":
        values = column.values.cast(pa.int8()).to_numpy()
    elif column.kind == "string":
        texts = column.values.to_pylist()
        positive = next((text for text in texts if text.lower() in POSITIVE), texts[-1])
        share = counts[texts.index(positive)] / counts.sum()
        return {"positive": positive}, f"{share:.1%} of the rows"
    else:
        values = column.numbers()
    options: dict[str, Any] = {}
    if len(values) == 2 and values.tolist() != [0, 1]:
        options = {"positive": int(values[1]) if values[1] % 1 == 0 else float(values[1])}
        values = np.array([0, 1])
    elif len(values) > 2:
        bound = _bound(values, counts)
        options = {"positive": f">= {bound:g}"}
        values = values >= bound
    share = float(values @ counts / counts.sum())
    return options, f"{share:.1%} of the rows are positive"


def _bound(values: np.ndarray, counts: np.ndarray) -> float:
    """From where a rating is a good one: the upper fifth of the scale (4 of 5), or the median if that is lopsided."""
    bound = float(values[values >= 0.8 * values[-1]][0])
    share = counts[values >= bound].sum() / counts.sum()
    if 0.1 <= share <= 0.9:
        return bound
    median = values[np.searchsorted(np.cumsum(counts), counts.sum() / 2)]
    return float(median if median > values[0] else values[1])


def feature(
    column: Column, columns: list[Column], part_of: Roles, table: pa.Table, total: int
) -> tuple[dict[str, Any] | None, str]:
    """The feature's options, or None where the column had better be left out; and a comment on its values."""
    note = f"{column.distinct:,} values"
    if column.missing:
        note += f", {_missing(column)}"
    if column in part_of.others:
        return None, "left out: an outcome, known only after the fact"
    if column.kind == "list":
        return _list(column, columns, table)
    if not column.present:
        return None, "left out: always missing"
    if column.kind not in SINGLE:
        return None, f"left out: values of type {column.type} have no feature yet"
    if column.distinct == 1 and not column.missing:
        return None, "left out: always the same value"
    unit = column.epoch()
    if column.kind in ("timestamp", "date") or unit:
        is_date = column.kind == "date" or column is not part_of.time
        options: dict[str, Any] = {"type": "datetime", "parts": ["year", "month"] if is_date else ["hour", "weekday"]}
        return ({**options, "unit": unit} if unit and unit != "s" else options), note
    if separator := column.separator():
        pieces = pc.unique(pc.list_flatten(pc.split_pattern(column.values, separator)))
        options = {"type": "sequence", **({} if separator == "|" else {"separator": separator})}
        shares = _shares(pieces, columns)
        return {**options, **shares}, f"several values in a cell, {len(pieces):,} different ones"
    if column.kind == "float" or (column.kind == "integer" and not column.is_category()):
        low, high = column.quantiles(0, 1)
        note = f"{low:g} to {high:g}" + (f", {_missing(column)}" if column.missing else "")
        return {"type": "dense", **number_options(column)}, note
    if column.is_free_text():
        return None, f"left out: text to be read; {note}"
    if column.kind == "string":
        twin = next(
            (other for other in (part_of.item, part_of.user) if other and same_thing(table, column, other)), None
        )
        if twin is not None and twin is not column:
            return None, f"left out: another name of {twin.name}; {note}"
    if column.distinct > 0.9 * column.present and column.present > 20 and column is not part_of.user:
        return None, f"left out: nearly every row has its own; {note}"
    rare = float(np.mean(column.counts * (total / table.num_rows) < RARE))
    if rare > 0.5 and column not in (part_of.user, part_of.item):
        return {"type": "sparse", "min_count": RARE}, f"{note}, {rare:.0%} of them rarer than {RARE} rows"
    return {"type": "sparse"}, note


def _missing(column: Column) -> str:
    share = column.missing / column.rows
    return f"{share:.0%} missing" if share >= 0.005 else "few missing"


def _list(column: Column, columns: list[Column], table: pa.Table) -> tuple[dict[str, Any] | None, str]:
    type = plain(column.type.value_type)
    cells = table[column.name].drop_null()
    lengths = pc.unique(pc.list_value_length(cells))
    if pa.types.is_floating(type):
        if len(lengths) == 1 and lengths[0].as_py():
            return {"type": "vector", "dim": lengths[0].as_py()}, "the same number of floats in every row"
        return None, "left out: lists of floats of different lengths"
    if kind(type) not in SINGLE or not len(cells):
        return None, f"left out: values of type {column.type} have no feature yet"
    pieces = pc.unique(pc.list_flatten(cells)).drop_null()
    longest = int(pc.max(lengths).as_py() or 1)
    options = {"type": "sequence", **_shares(pieces, columns), **({} if longest <= 50 else {"max_len": 50})}
    return options, f"lists of up to {longest}, {len(pieces):,} different values"


def _shares(pieces: pa.Array, columns: list[Column]) -> dict[str, str]:
    """The column whose ids these are: most of the pieces are values of it."""
    pieces = pieces.cast(pa.string())
    best, most = None, 0.7
    for column in columns:
        if column.kind in ("integer", "string") and column.distinct > 2 and column.separator() is None:
            whole = column.kind == "integer" and pa.types.is_floating(column.values.type)
            values = column.values.cast(pa.int64(), safe=False) if whole else column.values
            share = pc.mean(pc.is_in(pieces, values.cast(pa.string())).cast(pa.int8())).as_py() or 0.0
            if share > most:
                best, most = column.name, share
    return {"shares": best} if best else {}
