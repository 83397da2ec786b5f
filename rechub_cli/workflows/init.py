"""``rechub init``: a commented spec from the data's columns, ready to train."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from rechub_cli.data.source import Source
from rechub_cli.errors import NoInput
from rechub_cli.workflows.guess import Roles, feature, label_options, roles, several_options
from rechub_cli.workflows.profile import Column, without_dictionaries

LOOK_AT = 1_000_000  # rows
FEW_ROWS, FEW_VALUES = 3_000_000, 200_000  # below both, L2 over whole embedding tables pays and is affordable
SETTINGS: tuple[tuple[float, int, list[int]], ...] = (  # rows below which they hold, batch size, hidden_dims
    (30_000, 256, [128, 64]),
    (150_000, 512, [128, 64]),
    (1_000_000, 1024, [256, 128]),
    (3_000_000, 2048, [256, 128]),
    (math.inf, 4096, [400, 400, 400]),
)
SUFFIX = re.compile(r"(\.(parquet|pq|csv|tsv|jsonl|ndjson|arrow|feather|ipc))(\.(gz|zst|bz2))?$", re.IGNORECASE)
PARTS = {
    "train": {"train", "training", "base"},
    "valid": {"valid", "validation", "val", "dev", "eval"},
    "test": {"test", "testing", "holdout"},
}


def run(paths: Sequence[str], *, task: str = "ctr", label: str | None = None, base: Path | None = None) -> str:
    """The text of a spec for the rows in ``paths``.

    Args:
        paths: files, folders or globs of log rows. Beside a file named ``…train…`` its validation and test files are
            found by their names, in a folder all three.
        task: ``ctr``, ``mtl`` for several labels, or ``match`` for retrieval.
        label: the column to predict; by default the one whose name and values look like a label. Several are
            separated by commas.
        base: the folder the spec will be in, from which it names the files; by default the current one.

    Raises:
        UsageError: no column looks like a label (for retrieval: a user or an item), or ``label`` is no column.
        NoInput: there are no rows.
    """
    parts = find_parts(list(paths))
    source = Source.open(parts["train"], base=Path.cwd())
    chunks, rows = [], 0
    for chunk in source.tables():
        chunks.append(chunk.table)
        rows += len(chunk)
        if rows >= LOOK_AT:
            break
    if not rows:
        raise NoInput(f"{', '.join(parts['train'])}: no rows to look at")
    table = without_dictionaries(pa.concat_tables(chunks))
    total = max(source.count_rows() or 0, rows)
    if task == "match":
        from rechub_cli.workflows import init_match

        return init_match.render(parts, table, total, label, base=base or Path.cwd())
    columns = [Column.of(name, table[name]) for name in table.column_names]
    part_of = roles(columns, table, label, several=task == "mtl")
    known = "valid" in parts or part_of.known_later(table)
    return render(parts, columns, part_of, table, total, by_time=known, base=base or Path.cwd())


def find_parts(paths: list[str]) -> dict[str, list[str]]:
    """The files of ``train``, and of ``valid`` and ``test`` where their names tell."""
    if len(paths) > 1:
        return {"train": paths}
    place = Path(paths[0])
    if place.is_dir():
        inside = [path for path in sorted(place.iterdir()) if path.is_file() and _part(path, "train") is not None]
        inside.sort(key=lambda path: path.suffix != ".parquet")
        if not inside:
            return {"train": paths}
        place = inside[0]
    parts = {"train": [str(place)]}
    if not place.is_file() or (at := _part(place, "train")) is None:
        return parts
    for part in ("valid", "test"):
        beside = [path for path in sorted(place.parent.iterdir()) if path.suffix == place.suffix and path != place]
        same = [path for path in beside if _part(path, part) == at and stem_words(path)[:at] == stem_words(place)[:at]]
        exact = [path for path in same if stem_words(path)[at + 1 :] == stem_words(place)[at + 1 :]]
        if len(exact or same) == 1:
            parts[part] = [str((exact or same)[0])]
    return parts


def stem_words(path: Path) -> list[str]:
    """The words of a data file's name; none for any other file."""
    name, found = SUFFIX.subn("", path.name.lower())
    return re.findall(r"[a-z]+|\d+", name) if found else []


def _part(path: Path, part: str) -> int | None:
    """Which word of the file's name says that it is this part of the data."""
    return next((at for at, word in enumerate(stem_words(path)) if word in PARTS[part]), None)


def render(
    parts: Mapping[str, list[str]],
    columns: list[Column],
    part_of: Roles,
    table: pa.Table,
    total: int,
    *,
    by_time: bool,
    base: Path,
) -> str:
    files = {part: [relative(path, base) for path in paths] for part, paths in parts.items()}
    command = "train-mtl" if part_of.several else "train-ctr"
    seen = "" if total <= table.num_rows else f", the first {table.num_rows:,} of them looked at"
    lines = [
        f"# A first spec for {', '.join(files['train'])}: {total:,} rows{seen}, {len(columns)} columns.",
        f"# Every line is yours to change. Check it with `rechub validate`, train with `rechub {command}`.",
        "data:",
    ]
    lines += [f"  {part}: {flow(paths[0] if len(paths) == 1 else paths)}" for part, paths in files.items()]
    if "valid" not in parts:
        lines += _split(part_of, total, by_time)
    lines += ["", "embed_dim: 16", "features:"]
    lines += _features(columns, part_of, table, total)
    lines += ["", "labels:"]
    for column in part_of.labels:
        if part_of.several:
            options, note = several_options(column, part_of, table)
        else:
            options, note = label_options(column)
            options = {"type": "classification", **options}
        lines += [f"  {scalar(column.name)}: {flow(options)}  # {note}"]
    if part_of.weight:
        lines += [f"weight: {scalar(part_of.weight.name)}"]
    if part_of.user:
        lines += [f"group: {scalar(part_of.user.name)}  # gauc: the AUC within each of them"]
    if part_of.time:
        lines += [f"time: {scalar(part_of.time.name)}"]
    lines += ["", *_training(columns, part_of, total)]
    return "\n".join(lines) + "\n"


def _split(part_of: Roles, total: int, by_time: bool) -> list[str]:
    share = 0.1 if total < FEW_ROWS else 0.03
    if part_of.time is None:
        return [f"  split: {{method: random, valid: {share}}}  # rows for early stopping; `time` where rows have one"]
    if by_time:
        return [f"  split: {{method: time, valid: {share}}}  # the latest rows, as in production"]
    who = part_of.user or part_of.item
    assert who is not None  # without either, time it is
    return [
        f"  split: {{method: random, valid: {share}}}  # not by time: few of the latest rows'"
        f" {who.name} values occur earlier"
    ]


def _features(columns: list[Column], part_of: Roles, table: pa.Table, total: int) -> list[str]:
    entries = []
    for column in columns:
        if column.name in part_of.taken:
            continue
        options, note = feature(column, columns, part_of, table, total)
        entries.append((column.name, options, note))
    return aligned(entries)


def aligned(entries: Sequence[tuple[str, dict[str, Any] | None, str]]) -> list[str]:
    """A line for each feature: its name, its options (None: the line is a comment), and what to know of it."""
    entries = [(f"{scalar(name)}: ", options, note) for name, options, note in entries]
    width = max((len(name) for name, _, _ in entries), default=0)
    lines = []
    texts = [f"{name:{width}}{flow(options or {'type': 'sparse'})}" for name, options, _ in entries]
    full = min(max((len(text) for text in texts), default=0), 70)
    for text, (_, options, note) in zip(texts, entries, strict=True):
        mark = "" if options else "# "
        lines.append(f"  {mark}{text:{full - len(mark)}}  # {note}")
    return lines


def _training(columns: list[Column], part_of: Roles, total: int) -> list[str]:
    """Model and trainer: the fewer rows, the smaller the batches and the network."""
    metrics = ["auc", "gauc", "logloss"] if part_of.user else ["auc", "logloss"]
    _, batch_size, hidden = next(setting for setting in SETTINGS if total < setting[0])
    vocabulary = sum(column.distinct for column in columns if column.name not in part_of.taken)
    name, params = "deepfm", f"{{hidden_dims: {flow(hidden)}, dropout: 0.2}}"
    if part_of.several:
        name, params = "mmoe", f"{{n_experts: 6, expert_hidden_dims: [{hidden[0]}], dropout: 0.2}}"
    lines = [
        "model:",
        f"  name: {name}  # `rechub models ls` lists the others",
        f"  params: {params}",
        "",
        "trainer:",
        "  n_epoch: 30  # at most; training stops early",
        f"  batch_size: {batch_size}",
        "  optimizer: adam",
        "  optimizer_params: {lr: 1e-3}",
    ]
    if total < FEW_ROWS and vocabulary < FEW_VALUES:
        lines += ["  embedding_optimizer: {name: same, l2: 1e-2}  # against overfitting; less of it for more rows"]
    lines += ["  scheduler: ReduceLROnPlateau", "  scheduler_params: {factor: 0.1, patience: 0}"]
    lines += ["  earlystop_patience: 3"]
    if part_of.several:
        lines += [f"  earlystop_taskid: {scalar(part_of.labels[0].name)}  # the label that tells the best weights"]
        return [*lines, "  adaptive_params: {method: uwl}  # the losses are weighed by how uncertain each is"]
    return [*lines, "  monitor: auc", f"  metrics: {flow(metrics)}"]


def relative(path: str, base: Path) -> str:
    return path if os.path.isabs(path) else os.path.relpath(Path.cwd() / path, base)


def scalar(value: Any) -> str:
    """YAML for a name, a number or a piece of text; quoted only where it must be."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    plain = re.fullmatch(r"[A-Za-z_./][\w./-]*( [\w./-]+)*", value)
    if plain and value.lower() not in ("null", "true", "false", "yes", "no", "on", "off", "y", "n"):
        return str(value)
    return json.dumps(value, ensure_ascii=False)


def flow(value: Any) -> str:
    """YAML on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(flow, value)) + "]"
    return scalar(value)
