"""The files of a spec as rows: opened, checked for the columns a model needs, cut into parts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rechub_cli.errors import SpecError, UsageError
from rechub_cli.run.events import Events, Progress
from rechub_cli.run.signals import Stop

if TYPE_CHECKING:
    from rechub_cli.data.source import Chunk, Rows, Source
    from rechub_cli.spec.model import Spec


@dataclass(frozen=True, slots=True)
class Sources:
    """What a spec's ``data`` names."""

    train: Source
    valid: Source | None = None
    test: Source | None = None
    items: Source | None = None
    log_columns: tuple[str, ...] = ()  # of train itself, before the columns of its items

    def others(self) -> list[tuple[str, Source]]:
        """valid and test, where they are given."""
        return [(name, source) for name, source in (("valid", self.valid), ("test", self.test)) if source]


@dataclass(frozen=True, slots=True)
class Parts:
    """The rows to train on, to choose the best weights by, and to measure those once."""

    train: Rows
    valid: Rows | None = None
    test: Rows | None = None


def open_sources(spec: Spec, base: Path) -> Sources:
    """Open the files of ``data``; only their headers are read.

    Raises:
        SpecError: there is nothing to train on, a join or the filter is wrong.
        NoInput: a file is missing or empty.
        DataError: a file is not what its format says.
    """
    from rechub_cli.data.source import Source

    data = spec.data
    if not data.train:
        raise SpecError("data.train is missing: name the files to train on, or use --train PATH")

    def opened(paths: list[str] | None) -> Source | None:
        if not paths:
            return None
        return Source.open(paths, base=base, format=data.format, joins=data.join, filter=data.filter)

    train, valid, test = opened(data.train), opened(data.valid), opened(data.test)
    assert train is not None
    log_columns = tuple(train.column_kinds())
    if not data.items or not spec.item:
        return Sources(train, valid, test, None, log_columns)
    from rechub_cli.data.catalogue import join_items

    items = Source.open(data.items, base=base, format=data.format)
    train, valid, test = (part and join_items(part, items, str(spec.item)) for part in (train, valid, test))
    assert train is not None
    return Sources(train, valid, test, items, log_columns)


def column_kinds(spec: Spec, base: Path) -> dict[str, str]:
    """The columns of the training files, for a spec that has faults of its own."""
    return open_sources(spec, base).train.column_kinds()


def needed_columns(spec: Spec, labels: bool = True) -> list[str]:
    """The raw columns that a resolved spec's features (and labels, weight, group) are read from."""
    names = [feature.column or name for name, feature in spec.features.items() if feature.type != "history"]
    for feature in spec.features.values():
        if feature.type == "history":
            names += [*feature.of, *feature.where, *(name for name in (spec.user, spec.time, spec.order) if name)]
    if labels:
        names += [label.column or name for name, label in spec.labels.items()]
        names += [name for name in (spec.weight, spec.group, *(label.weight for label in spec.labels.values())) if name]
    return list(dict.fromkeys(names))


def check_other_parts(spec: Spec, sources: Sources) -> None:
    """Raises SpecError if the files of valid or test lack a column that train has."""
    for part, source in sources.others():
        there = source.column_kinds()
        missing = [name for name in needed_columns(spec) if name not in there]
        if missing:
            words = "columns" if len(missing) > 1 else "column"
            raise SpecError(
                f"data.{part}: {source.files[0].name} lacks the {words} {', '.join(missing)};"
                f" columns there: {', '.join(there)}"
            )


def cut_parts(spec: Spec, sources: Sources, limit_rows: int | None = None) -> Parts:
    """The parts of a run, each readable again and again in the same order."""
    from rechub_cli.data.split import split_rows
    from rechub_cli.data.types import is_text

    split, trainer = spec.data.split, spec.trainer
    train: Rows = limited(sources.train, limit_rows)
    if split is None:
        parts = {"train": train}
    else:
        parts = split_rows(
            train, split, time=spec.time, order=spec.order, user=spec.user or spec.group, seed=trainer.seed
        )
    texts = [column.name for column in sources.train.schema if is_text(column.type)]
    given = {name: limited(source.with_text(texts), limit_rows) for name, source in sources.others()}
    parts = {**parts, **given}
    return Parts(parts["train"], parts.get("valid"), parts.get("test"))


def check_counts(**flags: int | None) -> None:
    """Raises UsageError for a flag that counts something and is below 1."""
    for name, value in flags.items():
        if value is not None and value < 1:
            raise UsageError(f"--{name.replace('_', '-')} is {value}; it must be 1 or more")


def limited(rows: Rows, limit: int | None) -> Rows:
    return rows if limit is None else FirstRows(rows, limit)


@dataclass(frozen=True, slots=True)
class FirstRows:
    """The first ``limit`` rows of others: for a quick trial."""

    rows: Rows
    limit: int

    @property
    def schema(self) -> Any:
        return self.rows.schema

    def fingerprint(self) -> str:
        return f"{self.rows.fingerprint()}-first-{self.limit}"

    def count_rows(self) -> int | None:
        count = self.rows.count_rows()
        return None if count is None else min(count, self.limit)

    def tables(self, columns: Sequence[str] | None = None, rows: int = 262_144) -> Iterator[Chunk]:
        left = self.limit
        for chunk in self.rows.tables(columns, min(rows, self.limit)):
            if len(chunk) >= left:
                kept = None if chunk.kept is None else chunk.kept[:left]
                yield replace(chunk, table=chunk.table.slice(0, left), kept=kept)
                return
            left -= len(chunk)
            yield chunk


def reading(events: Events, stop: Stop, phase: str, total: int | None) -> Callable[[int], None]:
    """A callback for loops over rows: tells how many are done, and ends the loop when a signal came."""

    def on_rows(done: int) -> None:
        events.tick(Progress(phase, done, total))
        stop.check()

    return on_rows


def counted(loader: Iterable[Any], events: Events, phase: str, total: int | None) -> Iterator[Any]:
    """The same batches, telling how many rows have gone by."""
    done = 0
    for item in loader:
        done += len(item[0])
        yield item
        events.tick(Progress(phase, done, total))


def warn_unseen(part: str, unseen: dict[str, int], n_rows: int, events: Events) -> None:
    """Say which columns of ``part`` have many values that training never saw."""
    shares = {name: count / n_rows for name, count in unseen.items() if count / max(n_rows, 1) >= 0.005}
    if not shares:
        return
    ranked = sorted(shares.items(), key=lambda item: -item[1])
    said = ", ".join(f"{name} {share:.1%}" for name, share in ranked[:5])
    more = f" and {len(ranked) - 5} more" if len(ranked) > 5 else ""
    text = f"values of {part} that train never had, counted as unseen: {said}{more}"
    events.emit("data.warning", text, {"unseen": dict(ranked)}, level="warn")
