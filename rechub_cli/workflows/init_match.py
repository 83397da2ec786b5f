"""``rechub init --task match``: a retrieval spec from a log of who had what, and the table of items beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rechub_cli.data.source import Source
from rechub_cli.data.types import plain
from rechub_cli.errors import RechubError, UsageError
from rechub_cli.workflows.guess import ITEMS, OUTCOMES, TIMES, USERS, Roles, feature, label_options
from rechub_cli.workflows.init import FEW_ROWS, LOOK_AT, aligned, flow, relative, scalar, stem_words
from rechub_cli.workflows.profile import Column, pairs, without_dictionaries, words

SESSIONS = ("session_id", "session")  # who has what, where nobody signs in
TABLES = {"items", "item", "products", "product", "movies", "books", "articles", "news", "videos", "songs", "tracks",
          "ads", "catalog", "catalogue"}  # words in the name of a table of items  # fmt: skip
BATCHES = ((30_000, 128), (200_000, 512), (3_000_000, 1024), (float("inf"), 4096))  # below so many rows
REPEATS = 0.01  # of the rows are of an item that the user had before: above this, items come again
MOST_CATEGORIES = 3  # columns of the items that the history follows too
ONE_EACH = 1.01  # pairs of an id and a value, for each id: the value belongs to it


@dataclass(frozen=True, slots=True)
class Log:
    """What was found.

    Attributes:
        table: the first rows, with the columns of the table of items beside those of the log.
        of_item, of_user: the columns that are the same wherever the item, the user is.
        chosen: whether each row is one of an item that the user chose.
    """

    table: pa.Table
    columns: list[Column]
    user: Column
    item: Column
    roles: Roles
    total: int
    items: Path | None
    of_item: list[Column]
    of_user: list[Column]
    chosen: np.ndarray

    @property
    def label(self) -> Column | None:
        """What says that the item was chosen; a rating is no such thing, for a bad film was watched too."""
        label = self.roles.label
        return label if label and label.distinct == 2 else None

    def feature(self, column: Column) -> tuple[dict[str, Any] | None, str]:
        return feature(column, self.columns, self.roles, self.table, self.total)


def render(parts: Mapping[str, list[str]], table: pa.Table, total: int, label: str | None, *, base: Path) -> str:
    """The text of the spec.

    Raises:
        UsageError: no column looks like a user or an item, or ``label`` is no column.
    """
    log = look(parts, table, total, label)
    user, item, time = log.user, log.item, log.roles.time
    files = {part: [relative(path, base) for path in paths] for part, paths in parts.items()}
    lines = [
        f"# A first retrieval spec for {', '.join(files['train'])}: {total:,} rows, {user.distinct:,} users and"
        f" {item.distinct:,} items{'' if total <= table.num_rows else ' in the first of them'}.",
        "# Every line is yours to change. Check it with `rechub validate`, train with `rechub train-match`.",
        "data:",
    ]
    lines += [f"  {part}: {flow(paths[0] if len(paths) == 1 else paths)}" for part, paths in files.items()]
    if log.items:
        lines += [f"  items: {scalar(relative(str(log.items), base))}  # the catalogue: one row for each item"]
    if "valid" not in parts:
        share = 0.1 if total < FEW_ROWS else 0.03
        how = "time" if time else "random"
        note = "the latest rows, as in production" if time else "rows for early stopping; `time` where rows have one"
        lines += [f"  split: {{method: {how}, valid: {share}}}  # {note}"]
    lines += ["", "embed_dim: 32", "features:", *aligned(features_of(log, "valid" in parts)), "", *label_of(log, label)]
    lines += [f"user: {scalar(user.name)}", f"item: {scalar(item.name)}"]
    lines += [f"time: {scalar(time.name)}"] if time else []
    return "\n".join([*lines, "", *training(log)]) + "\n"


def look(parts: Mapping[str, list[str]], table: pa.Table, total: int, label: str | None) -> Log:
    """Which column is what. Raises UsageError where there is no telling."""
    columns = [Column.of(name, table[name]) for name in table.column_names]
    named = {"_".join(words(column.name)): column for column in columns}

    def first(names: Sequence[str], kinds: Sequence[str]) -> Column | None:
        there = [named[name] for name in names if name in named]
        return next((column for column in there if column.kind in kinds and column.distinct), None)

    ids = ("integer", "string")
    user, item = first((*USERS, *SESSIONS), ids), first(ITEMS, ids)
    if user is None or item is None:
        what, names = ("user", USERS) if user is None else ("item", ITEMS)
        raise UsageError(
            f"which column is the {what}? None is called {', '.join(names[:3])} or the like, as a log of who had"
            f" what needs one: rename it. The columns: {', '.join(table.column_names)}"
        )
    if label is not None and label not in table.column_names:
        raise UsageError(f"the data has no column {label!r}; its columns: {', '.join(table.column_names)}")
    outcomes = [named[name] for name in OUTCOMES if name in named and named[name].distinct >= 2]
    asked = next((column for column in columns if column.name == label), None)
    binary = next((column for column in outcomes if column.distinct == 2), None)
    chosen = asked or binary or next(iter(outcomes), None)
    time = first(TIMES, ("timestamp", "date", "integer"))
    roles = Roles(chosen, tuple(column for column in outcomes if column is not chosen), user, item, time)

    beside = find_items(parts, item, table)
    of_item = []
    if beside:
        at = pc.index_in(table[item.name].combine_chunks(), beside[1][item.name].combine_chunks())
        rows = beside[1].take(at)
        for name in rows.column_names:
            if name not in table.column_names:
                table = table.append_column(name, rows[name])
                of_item.append(Column.of(name, table[name]))
    given = {column.name for column in (chosen, *roles.others, user, item, time) if column}
    left = [column for column in columns if column.name not in given]
    of_item = [column for column in left if belongs(column, item, table)] + of_item
    of_user = [column for column in left if column not in of_item and belongs(column, user, table)]
    both = [*columns, *(column for column in of_item if column not in columns)]
    is_chosen = choices(chosen, table) if chosen and chosen.distinct == 2 else np.ones(table.num_rows, bool)
    return Log(table, both, user, item, roles, total, beside and beside[0], of_item, of_user, is_chosen)


def belongs(column: Column, owner: Column, table: pa.Table) -> bool:
    """Whether the column says the same wherever the owner's id is the same."""
    if column.kind in ("list", "binary") or not column.distinct:
        return False
    met = pairs(table.select([owner.name, column.name]).drop_null(), owner.name, column.name)
    return met.num_rows <= ONE_EACH * pc.count_distinct(met["one"]).as_py()


def choices(label: Column, table: pa.Table) -> np.ndarray:
    """bool (n,): the rows where a label of two values says yes."""
    options, _ = label_options(label)
    column = table[label.name].cast(plain(table[label.name].type))
    positive = options.get("positive", 1)
    values = column.cast(pa.string() if isinstance(positive, str) else pa.float64())
    return np.asarray(pc.equal(values, positive).fill_null(False))


def find_items(parts: Mapping[str, list[str]], item: Column, table: pa.Table) -> tuple[Path, pa.Table] | None:
    """The file beside the log that has one row for each item, and its rows: by its name first, else the widest."""
    place = Path(parts["train"][0])
    taken = {Path(path).resolve() for paths in parts.values() for path in paths}
    if not place.is_file() or len(parts["train"]) > 1:
        return None
    found = []
    for path in sorted(place.parent.iterdir()):
        name = set(stem_words(path))
        if not path.is_file() or not name or path.resolve() in taken:
            continue
        rows = one_row_each(path, item, table)
        if rows is not None:
            own = {word.rstrip("s") for word in words(item.name)} - {"id"}
            by_name = bool(name & TABLES) or bool({word.rstrip("s") for word in name} & own)
            found.append((by_name, rows.num_columns, path, rows))
    best = max(found, key=lambda one: one[:2], default=None)
    return best and best[2:]


def one_row_each(path: Path, item: Column, table: pa.Table) -> pa.Table | None:
    """The rows of a file that holds every item once, and most of those of the log."""
    try:
        source = Source.open([str(path)], base=Path.cwd())
        if item.name not in source.schema.names or (source.count_rows() or 0) > LOOK_AT:
            return None
        rows = without_dictionaries(pa.concat_tables(chunk.table for chunk in source.tables()))
        ids = rows[item.name].cast(table[item.name].type)
    except (RechubError, pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None  # no table, or one of other ids
    rows = rows.set_column(rows.column_names.index(item.name), item.name, ids)
    if not len(ids) or ids.null_count or pc.count_distinct(ids).as_py() < len(ids):
        return None
    known = pc.mean(pc.is_in(table[item.name], ids.combine_chunks()).cast(pa.int8())).as_py()
    return rows if known >= 0.5 else None


def features_of(log: Log, valid_given: bool) -> list[tuple[str, dict[str, Any] | None, str]]:
    """The user's past first, then the user, then the item; what is neither's is left out."""
    user, item, time = log.user, log.item, log.roles.time
    entries: list[tuple[str, dict[str, Any] | None, str]] = []
    of_item = [(column, *log.feature(column)) for column in log.of_item]
    if time:
        categories = [
            column.name
            for column, options, _ in of_item
            if options and options["type"] == "sparse" and column.distinct <= 0.2 * item.distinct
        ]
        of = [item.name, *categories[:MOST_CATEGORIES]]
        options: dict[str, Any] = {"type": "history", "of": of if len(of) > 1 else item.name}
        if log.label:
            options["where"] = {log.label.name: label_options(log.label)[0].get("positive", 1)}
        names = set(log.table.column_names)
        for name, length, note in (
            ("past", usual_length(log), "what the user had before"),
            ("latest", 1, "and the last alone: what comes next"),
        ):
            name = name if name not in names else f"user_{name}"
            entries.append((name, {**options, "max_len": length}, note))
    if time is None or valid_given or log.roles.known_later(log.table):
        entries.append((user.name, {"type": "sparse"}, f"{user.distinct:,} values"))
    else:
        entries.append((user.name, None, "left out: few of the latest users occur earlier, their past tells"))
    entries += [(column.name, *log.feature(column)) for column in log.of_user]
    entries.append((item.name, {"type": "sparse", "tower": "item"}, f"{item.distinct:,} values"))
    entries += [(column.name, options and {**options, "tower": "item"}, note) for column, options, note in of_item]
    used = {column.name for column in (*log.of_item, *log.of_user, user, item, time, log.roles.label) if column}
    for column in log.columns:
        if column in log.roles.others:
            entries.append((column.name, None, "left out: an outcome, known only after the fact"))
        elif column.name not in used:
            entries.append((column.name, None, "left out: it differs from row to row, for a user and for an item"))
    return entries


def usual_length(log: Log) -> int:
    """Nine users in ten have had no more, up to 50."""
    counts = log.user.counts * log.chosen.mean()
    return int(np.clip(np.ceil(np.quantile(counts, 0.9)), 5, 50))


def label_of(log: Log, asked: str | None) -> list[str]:
    """The label, where the log has rows of items that were not chosen; with a rating that is the reader's to say."""
    column = log.roles.label
    if column is None:
        return []
    options, note = label_options(column)
    line = f"labels: {{{scalar(column.name)}: {flow(options)}}}"
    if asked is None and log.label is None:
        return [f"# {line}  # with this line only good ones are learnt and looked for: {note}"]
    return [f"{line}  # the rows that are learnt and looked for: {note}"]


def training(log: Log) -> list[str]:
    user, item = log.user.name, log.item.name
    had = log.table.select([user, item]).filter(pa.array(log.chosen))
    again = 1 - pairs(had, user, item).num_rows / max(had.num_rows, 1)
    seen, why = "true ", "no user has an item twice here: what was had is never a hit"
    if again > REPEATS:
        seen, why = "false", f"{again:.0%} of the rows are of an item that the user had before: it may be a hit again"
    batch_size = next(size for rows, size in BATCHES if log.total < rows)
    return [
        "model:",
        "  name: dssm  # two towers; `rechub models ls` lists the others, such as youtube_dnn and sasrec",
        "  params: {user_hidden_dims: [128, 64], item_hidden_dims: [128, 64], temperature: 0.05}",
        "",
        "trainer:",
        "  n_epoch: 20  # at most; training stops early",
        f"  batch_size: {batch_size}  # the other items of a batch are the negatives",
        "  optimizer_params: {lr: 2e-3}",
        "  earlystop_patience: 3",
        "  monitor: ndcg@10",
        "  metrics: [recall@10, recall@50]",
        f"  exclude_seen: {seen} # {why}",
    ]
