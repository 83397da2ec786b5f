"""``rechub embed``: vectors of items or users, under their own ids. Nothing is written into the run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from rechub_cli.errors import DataError, UsageError
from rechub_cli.run.events import Events, Progress
from rechub_cli.run.signals import Stop
from rechub_cli.workflows import retrieval
from rechub_cli.workflows.drift import ITEMS, NOTHING, USERS, Allowed, Drift, check_drift
from rechub_cli.workflows.fitting import blaming_foreign
from rechub_cli.workflows.load import Trained, open_trained
from rechub_cli.workflows.newdata import check_request, open_data, prepare_threads
from rechub_cli.workflows.sources import check_counts, limited

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from rechub_cli.data.chunk import Rows
    from rechub_cli.data.stream_loader import StreamLoader
    from rechub_cli.data.vectors import Columns
    from rechub_cli.trainers.ranking import Ranker

    Part = tuple[pa.Array, np.ndarray, np.ndarray | None]  # ids, vectors, numbers of interests

BATCH_SIZE = 16_384
GOOD_RECALL = 0.98  # of an index


@dataclass(frozen=True, slots=True)
class EmbedRequest:
    """What the user asked for."""

    run: str
    mode: str | None
    output: str | None
    data: str | None = None
    history: tuple[str, ...] = ()
    input_format: str = "auto"
    output_format: str | None = None
    header: bool = True
    shard_rows: int | None = None
    index_type: str | None = None
    limit_rows: int | None = None
    batch_size: int | None = None
    device: str | None = None
    threads: int | None = None
    plugin: bool = False
    overwrite: bool = False
    allowed: Allowed = NOTHING  # drift


@dataclass(frozen=True, slots=True)
class EmbedOutcome:
    """Where the vectors are."""

    output: str
    manifest: str | None
    rows: int
    dim: int
    index: dict[str, Any] | None
    drift: Drift | None = None  # None: of the run's own catalogue

    def to_json(self) -> dict[str, Any]:
        found: dict[str, Any] = {"output": self.output, "manifest": self.manifest, "rows": self.rows, "dim": self.dim}
        if self.drift is not None:
            found["drift"] = self.drift.to_json()
        return found if self.index is None else {**found, "index": self.index}


def embed(request: EmbedRequest, events: Events, stop: Stop, stdout: IO[bytes] | None = None) -> EmbedOutcome:
    """Write the vectors of users, or of items.

    Raises:
        RechubError: with the exit code of its kind; an output that exists stays as it was.
    """
    from rechub_cli.data.manifest import described
    from rechub_cli.data.vectors import check_vectors_target, open_vectors

    check(request)
    output = str(request.output)
    check_vectors_target(
        output, overwrite=request.overwrite, shard_rows=request.shard_rows, index_type=request.index_type
    )
    stop.events = events
    trained = open_trained(Path(request.run), device=request.device, plugin=request.plugin, events=events, stop=stop)
    check_vectors(trained)
    request.allowed.check(trained)
    prepare_threads(request.threads)
    users = request.mode == "user"
    rows: Rows | None = None
    if users:
        newer = retrieval.open_history(trained, request.history, request.input_format)
        trained = trained.with_history(*newer) if newer else trained
    if request.data is not None:
        encoder = retrieval.user_encoder(trained) if users else trained.encoder.of_tower("item")
        rows = limited(
            open_data(trained, request.data, request.input_format, needed=encoder.columns), request.limit_rows
        )
    total = len(retrieval.catalogue_of(trained)) if rows is None else rows.count_rows()
    export = Export(trained, str(request.mode), rows, request.batch_size or BATCH_SIZE)
    with (
        blaming_foreign(trained.model, trained.spec, "embedding"),
        open_vectors(
            output,
            export.columns,
            format=request.output_format,
            overwrite=request.overwrite,
            header=request.header,
            stream=stdout,
            shard_rows=request.shard_rows,
            index_type=request.index_type,
        ) as writer,
    ):
        for ids, vectors, interests in export.parts():
            writer.write(ids, vectors, interests)
            events.tick(Progress("embed", export.done, total))
            stop.check()
        drift = None
        if export.loader is not None:
            drift = check_drift(trained, export.loader.met, events, request.allowed, USERS if users else ITEMS)
    if users:
        retrieval.tell_unknown(export.unknown, export.done, "they all get the same vector", events)
    elif export.unknown:
        text = f"{export.unknown:,} items have no value that training ever had: they are left out"
        events.emit("data.warning", text, {"left_out": export.unknown}, level="warn")
    said = {"path": output, "rows": writer.rows, "dim": export.columns.dim}
    events.emit("output.written", f"{output}  {writer.rows:,} vectors of {export.columns.dim}", said)
    if writer.index is not None:
        tell_recall(writer.index, events)
    path = None
    if output != "-":
        manifest = retrieval.describe(trained, export.mode, export.columns, writer, export.interests)
        path = str(replace(manifest, files=described(Path(output), writer.files)).save(Path(output)))
    return EmbedOutcome(output, path, writer.rows, export.columns.dim, writer.index, drift)


def embed_table(trained: Trained, table: Any, mode: str, batch_size: int) -> pa.Table:
    """As ``Trained.embed``."""
    import pyarrow as pa

    if mode not in ("user", "item"):
        raise UsageError(f"mode is {mode!r}; it can be user or item")
    if table is None and mode == "user":
        raise UsageError("embed(mode='user') needs a table of users")
    check_vectors(trained)
    rows = None
    if table is not None:
        encoder = retrieval.user_encoder(trained) if mode == "user" else trained.encoder.of_tower("item")
        rows = retrieval.table_rows(trained, table, encoder.columns)
    export = Export(trained, mode, rows, batch_size)
    tables = [export.columns.table(*part) for part in export.parts()]
    return pa.concat_tables(tables) if tables else export.columns.schema.empty_table()


def check(request: EmbedRequest) -> None:
    """What needs no file to be opened. Raises UsageError, NoInput."""
    if request.mode not in ("user", "item"):
        given = "is required" if request.mode is None else f"is {request.mode!r}"
        raise UsageError(f"--mode {given}: user or item")
    if request.data is None and request.mode == "user":
        raise UsageError("--data is required (the users: a file, or - for standard input)")
    if request.history and request.mode == "item":
        raise UsageError("--history is for --mode user: the vector of an item has no history")
    check_request(request.run, request.data or request.run, request.input_format)
    check_counts(
        limit_rows=request.limit_rows,
        batch_size=request.batch_size,
        threads=request.threads,
        shard_rows=request.shard_rows,
    )
    if request.output is None:
        raise UsageError("--output is required (a file, or - for standard output)")
    if Path(request.output).suffix.lower() == ".faiss" and request.mode == "user":
        raise UsageError("-o *.faiss: an index is of items; use --mode item")


def check_vectors(trained: Trained) -> None:
    """Raises UsageError for a run whose model has no vectors."""
    retrieval.catalogue_of(trained)
    if retrieval.is_counting(trained):
        raise UsageError(f"{trained.spec.model.name} counts, and has no vectors; use rechub recommend")


def tell_recall(index: dict[str, Any], events: Events) -> None:
    """Say how much an index finds of what is there."""
    name = next((name for name in index if name.startswith("recall@")), None)
    if name is None:
        return
    text = f"index {index['kind']}: {name} {index[name]:.4f} against exact search ({index['queries']})"
    low = index[name] < GOOD_RECALL
    more = f"; below {GOOD_RECALL}: use --index-type flat, or build it finer" if low else ""
    events.emit("warning" if low else "eval.result", text + more, dict(index), level="warn" if low else "info")


class Export:
    """The vectors of users or items, a batch at a time.

    Attributes:
        rows: what to embed; None: the run's catalogue.
        done: rows embedded so far.
        unknown: items, or users, so far of which the model knows nothing.
        interests: the most vectors a user can have, where there are several.
    """

    def __init__(self, trained: Trained, mode: str, rows: Rows | None, batch_size: int) -> None:
        from rechub_cli.data.stream_loader import StreamLoader
        from rechub_cli.data.vectors import Columns

        self.trained, self.mode, self.rows, self.batch_size = trained, mode, rows, batch_size
        self.catalogue = retrieval.catalogue_of(trained)
        self.ranker: Ranker = retrieval.ranker_of(trained, self.catalogue)
        self.done = self.unknown = 0
        self.interests: int | None = None
        self.loader: StreamLoader | None = None
        id = self.catalogue.item if mode == "item" else retrieval.user_column(trained)
        type = self.catalogue.ids.type
        if rows is not None:
            needed = trained.encoder.of_tower("item").columns if mode == "item" else []
            retrieval.check_needed(rows.schema.names, [id, *needed], "the data")
            type = rows.schema.field(id).type
            if mode == "item":
                encoder = trained.encoder.of_tower("item")
                self.loader = StreamLoader(rows, encoder, batch_size, keep=[id], labels=False)
            else:
                encoder = retrieval.user_encoder(trained)
                self.loader = retrieval.user_loader(trained, encoder, rows, batch_size, self.catalogue, None)
        dim = self.ranker.embed_items(self.catalogue.batch.slice(0, 1)).shape[1]
        self.columns: Columns = Columns(id, type, dim, mode == "user" and self._several())

    def _several(self) -> bool:
        """Whether users have interests: asked of one user without anything."""
        import numpy as np

        from rechub_cli.data.batches import join
        from rechub_cli.data.block import Block

        assert self.loader is not None
        layout = self.loader.encoder.layout(False)
        names = layout.sequences
        nobody = Block(layout, np.zeros((1, layout.width), np.int32), {name: np.empty(0, np.int32) for name in names})
        vectors = self.ranker.embed_users(join(layout, [nobody]))
        self.interests = vectors.shape[1] if vectors.dim() == 3 else None
        return self.interests is not None

    def parts(self) -> Iterator[Part]:
        """Ids, vectors and numbers of interests, in the order of the rows; made ahead by a thread."""
        from rechub_cli.data.prefetch import prefetch

        return prefetch(self._users() if self.mode == "user" else self._items())

    def _items(self) -> Iterator[Part]:
        import pyarrow as pa
        import torch

        from rechub_cli.data.catalogue import known_rows

        if self.loader is None:
            ids, batch = self.catalogue.ids, self.catalogue.batch
            for start in range(0, len(batch), self.batch_size):
                part = batch.slice(start, min(start + self.batch_size, len(batch)))
                self.done += len(part)
                yield _whole(ids.slice(start, len(part))), self.ranker.embed_items(part).cpu().numpy(), None
            return
        schema = self.trained.encoder.of_tower("item").schema
        for batch, kept in self.loader:
            assert kept is not None
            self.done += len(batch)
            known = known_rows(schema, batch)
            if not known.all():
                self.unknown += int((~known).sum())
                batch, kept = batch.take(torch.from_numpy(known.nonzero()[0])), kept.filter(pa.array(known))
            if len(batch):
                yield self._ids(kept), self.ranker.embed_items(batch).cpu().numpy(), None

    def _users(self) -> Iterator[Part]:
        import numpy as np
        import pyarrow as pa

        assert self.loader is not None
        for batch, kept in self.loader:
            self.done += len(batch)
            self.unknown += retrieval.unknown_users(self.loader.encoder.schema, batch, counting=False)
            ids, vectors = self._ids(kept), self.ranker.embed_users(batch).cpu().numpy()
            if self.interests is None:
                yield ids, vectors, None
                continue
            used = np.any(vectors, axis=2)
            used[:, 0] |= ~np.any(used, axis=1)  # nobody is left out
            rows, interests = np.nonzero(used)
            yield ids.take(pa.array(rows)), vectors[rows, interests], interests.astype(np.int8)

    def _ids(self, kept: Any) -> pa.Array:
        ids = _whole(kept.column(self.columns.id))
        if ids.null_count:
            raise DataError(f"{ids.null_count:,} rows have no {self.columns.id}: a vector needs an id")
        return ids


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
