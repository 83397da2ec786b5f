"""What embed and recommend share: today's users and items of a retrieval run, and whose vectors a file holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rechub_cli.errors import DataError, UsageError
from rechub_cli.run.reading import read_manifest, read_pointer
from rechub_cli.workflows.tables import TableRows, as_arrow

if TYPE_CHECKING:
    from torch import Tensor

    from rechub_cli.batch import Batch
    from rechub_cli.data.catalogue import Catalogue
    from rechub_cli.data.chunk import Rows
    from rechub_cli.data.encoder import Encoder
    from rechub_cli.data.interactions import Interactions
    from rechub_cli.data.manifest import Manifest
    from rechub_cli.data.source import Source
    from rechub_cli.data.stream_loader import StreamLoader
    from rechub_cli.data.vectors import Columns, VectorWriter
    from rechub_cli.run.events import Events
    from rechub_cli.schema import Schema
    from rechub_cli.trainers.ranking import Ranker
    from rechub_cli.workflows.load import Trained


def catalogue_of(trained: Trained) -> Catalogue:
    """The run's own. Raises UsageError for a run that has none."""
    if trained.catalogue is None:
        raise UsageError(f"{trained.run.path} scores rows, and has no catalogue of items; use rechub predict")
    return trained.catalogue


def is_counting(trained: Trained) -> bool:
    return bool(getattr(trained.model, "counting", False))


def ranker_of(trained: Trained, catalogue: Any, *, items: Tensor | None = None, absent: Tensor | None = None) -> Ranker:
    """The run's model over a catalogue."""
    from rechub_cli.trainers.ranking import Ranker

    return Ranker(
        trained.model,
        catalogue,
        device=trained.scorer.device,
        precision=trained.spec.trainer.precision,
        watcher=trained.scorer.watcher,
        items=items,
        absent=absent,
    )


def user_column(trained: Trained) -> str:
    """Raises UsageError where the spec names none: rows would have no id."""
    if trained.spec.user is None:
        raise UsageError("the run's spec names no `user:` column, by which its users could be told; train with one")
    return trained.spec.user


def user_encoder(trained: Trained) -> Encoder:
    """Of what the model needs of a user: no labels, no negatives."""
    user = trained.encoder.of_tower("user")
    features = {name: one for name, one in user.plan.features.items() if getattr(one, "role", "input") == "input"}
    plan = replace(user.plan, features=features, labels={}, weight=None, group=None)
    return type(user)(plan, user.vocabularies, user.transforms, user.bins, user.events)


def user_loader(
    trained: Trained, encoder: Encoder, rows: Rows, batch_size: int, catalogue: Catalogue, seen: Interactions | None
) -> StreamLoader:
    """Batches of users with their ids; with what each has seen, where that is given.

    Raises:
        DataError: a column that the model needs is missing.
    """
    from rechub_cli.data.match import MatchEncoder
    from rechub_cli.data.stream_loader import StreamLoader

    user, there = user_column(trained), rows.schema.names
    match = MatchEncoder(encoder.for_columns(there), catalogue, None, user, seen)
    check_needed(there, [user, *match.columns], "the users")
    return StreamLoader(rows, match, batch_size, keep=[user], labels=False)


def unknown_users(schema: Schema, batch: Batch, counting: bool) -> int:
    """How many rows tell a model nothing: no value that training had, no history; for one that counts, nothing seen."""
    from rechub_cli.data.catalogue import known_rows

    if counting:
        return int((batch.seen.lengths == 0).sum()) if batch.seen is not None else 0
    return int((~known_rows(schema, batch)).sum())


def tell_unknown(unknown: int, users: int, same: str, events: Events) -> None:
    """Say that users cannot be told apart, which no score shows."""
    if unknown:
        whom = f"{unknown:,} of {users:,} users have no history and no value that training had"
        events.emit("data.warning", f"{whom}: {same}", {"unknown_users": unknown, "users": users}, level="warn")


def seen_of(trained: Trained, catalogue: Catalogue, newer: Sequence[Rows] = ()) -> Interactions:
    """What each user had when the run ended and in newer rows, as places of a catalogue."""
    from rechub_cli.data.interactions import Columns, Interactions
    from rechub_cli.errors import RunFailed

    seen = trained.interactions
    assert seen is not None
    if catalogue is not trained.catalogue:
        try:
            seen = Interactions.load(trained.run.path / "interactions.parquet", catalogue)
        except RunFailed as error:
            raise DataError(str(error)) from error
    if newer:
        seen = seen.union(Interactions.build(newer, Columns.of(trained.spec), catalogue)[0])
    return seen


def history_columns(trained: Trained) -> list[str]:
    """The raw columns that newer events are read from."""
    from rechub_cli.data.events import event_columns
    from rechub_cli.data.interactions import Columns

    return list(dict.fromkeys([*event_columns(trained.encoder), *Columns.of(trained.spec).names]))


def open_history(trained: Trained, files: Sequence[str], input_format: str) -> list[Source]:
    """The files of ``--history``: rows of the log that are newer than the run."""
    from rechub_cli.workflows.newdata import open_data

    needed = history_columns(trained)
    sources = [open_data(trained, file, input_format, needed=needed) for file in files]
    for file, source in zip(files, sources, strict=True):
        check_needed(list(source.column_kinds()), needed, file)
    return sources


def table_rows(trained: Trained, table: Any, needed: Sequence[str]) -> TableRows:
    """A table in memory as rows, with the columns of the run's look-up tables that are needed."""
    table = as_arrow(table)
    for look_up in trained.look_ups(table.column_names, needed):
        table, _ = look_up.add(table, "the table")
    return TableRows(table)


def check_needed(there: Sequence[str], needed: Sequence[str], what: str) -> None:
    """Raises DataError for columns that are not there."""
    missing = [name for name in dict.fromkeys(needed) if name not in there]
    if missing:
        columns, are = ("columns", "are") if len(missing) > 1 else ("column", "is")
        raise DataError(
            f"{what} lacks the {columns} {', '.join(missing)}, which {are} needed; columns there: {', '.join(there)}"
        )


def weights_hash(trained: Trained) -> str:
    """The SHA-256 of the run's best weights."""
    folder = trained.run.path / "checkpoints" / str(read_pointer(trained.run.path, "best"))
    return str(read_manifest(folder)["files"]["model.safetensors"]["sha256"])


def describe(trained: Trained, mode: str, columns: Columns, writer: VectorWriter, interests: int | None) -> Manifest:
    """The manifest of what was written."""
    from rechub_cli.data.manifest import Manifest
    from rechub_cli.data.types import plain

    return Manifest(
        mode=mode,
        model=trained.spec.model.name,
        run=str(trained.run.info.get("run", trained.run.name)),
        encoder=trained.encoder.with_events(None).hash,
        weights=weights_hash(trained),
        id_column=columns.id,
        id_type=str(plain(columns.type)),
        dim=columns.dim,
        rows=writer.rows,
        normalized=writer.normalized and writer.rows > 0,
        temperature=float(f"{ranker_of(trained, trained.catalogue).temperature:.7g}"),  # of a float32
        interests=interests,
        data_until=_newest(trained.encoder),
        index=writer.index,
    )


def check_same_model(trained: Trained, manifest: Manifest, path: Path) -> None:
    """Raises UsageError where the vectors are not items' vectors of this run's model."""
    if manifest.mode != "item":
        raise UsageError(f"{path} holds vectors of users; give those of items: rechub embed RUN --mode item")
    own = (trained.encoder.with_events(None).hash, weights_hash(trained))
    if (manifest.encoder, manifest.weights) != own:
        raise UsageError(
            f"{path} is of another model: run {manifest.run}, {manifest.model}; its vectors cannot be compared with"
            f" those of {trained.run.path}; embed the items again with this run"
        )


def _newest(encoder: Encoder) -> str | None:
    """The time of the last event that histories have."""
    store = encoder.events
    if store is None or not len(store):
        return None
    last = store.events.times.max().item()
    return datetime.fromtimestamp(last / 1e6, UTC).isoformat() if store.moments else str(last)
