"""``rechub predict``: scores of raw rows, in their order. Nothing is written into the run."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

from rechub_cli.errors import UsageError
from rechub_cli.run.events import Events, Progress
from rechub_cli.run.signals import Stop
from rechub_cli.workflows import ranking
from rechub_cli.workflows.drift import NOTHING, Allowed, Drift, check_drift
from rechub_cli.workflows.fitting import blaming_foreign
from rechub_cli.workflows.load import Trained, open_run
from rechub_cli.workflows.newdata import (
    check_columns,
    check_request,
    open_data,
    prepare_threads,
    with_newer,
)
from rechub_cli.workflows.sources import check_counts, limited

if TYPE_CHECKING:
    import pyarrow as pa

    from rechub_cli.data.chunk import Rows
    from rechub_cli.data.stream_loader import StreamLoader


@dataclass(frozen=True, slots=True)
class PredictRequest:
    """What the user asked for."""

    run: str
    data: str | None
    output: str | None
    keep: tuple[str, ...] = ()
    input_format: str = "auto"
    output_format: str | None = None
    header: bool = True
    limit_rows: int | None = None
    batch_size: int | None = None
    device: str | None = None
    threads: int | None = None
    plugin: bool = False
    overwrite: bool = False
    history: tuple[str, ...] = ()
    gates: bool = False  # write how each task mixes the experts, too
    allowed: Allowed = NOTHING  # drift


@dataclass(frozen=True, slots=True)
class PredictOutcome:
    """Where the scores are."""

    output: str
    rows: int
    drift: Drift

    def to_json(self) -> dict[str, Any]:
        return {"output": self.output, "rows": self.rows, "drift": self.drift.to_json()}


def predict(request: PredictRequest, events: Events, stop: Stop, stdout: IO[bytes] | None = None) -> PredictOutcome:
    """Score every row of the data and write the scores.

    Raises:
        RechubError: with the exit code of its kind; an output that exists stays as it was.
    """
    from rechub_cli.data.writers import check_target

    data = check_request(request.run, request.data, request.input_format)
    check_counts(limit_rows=request.limit_rows, batch_size=request.batch_size, threads=request.threads)
    if request.output is None:
        raise UsageError("--output is required (a file, or - for standard output)")
    if request.output != "-":
        check_target(Path(request.output), request.overwrite)
    stop.events = events
    trained = open_run(Path(request.run), device=request.device, plugin=request.plugin, events=events, stop=stop)
    request.allowed.check(trained)
    source = open_data(trained, data, request.input_format)
    trained = with_newer(trained, request.history, request.input_format)
    scoring: Scoring = ranking.PairScores(trained) if trained.catalogue is not None else RowScores(trained)
    check_columns(data, source, scoring.columns(source.column_kinds()))
    there = source.column_kinds()
    for name in scoring.names:
        if name in request.keep:
            raise UsageError(f"--keep {name}: the predictions are called {name}; rename the column")
    not_kept = [name for name in request.keep if name not in there]
    if not_kept:
        raise UsageError(f"--keep: {data} has no column {', '.join(not_kept)}; columns there: {', '.join(there)}")

    from rechub_cli.data.writers import open_writer
    from rechub_cli.workflows.scoring import no_rows

    rows = limited(source, request.limit_rows)
    total = rows.count_rows()
    loader = scoring.loader(rows, request.batch_size or 8192, request.keep)
    if source.seekable:
        loader.begin()
    prepare_threads(request.threads)
    if request.gates:
        ask_for_gates(trained)
    done = 0
    with (
        blaming_foreign(trained.model, trained.spec, "scoring"),
        open_writer(
            request.output,
            format=request.output_format,
            overwrite=request.overwrite,
            header=request.header,
            stream=stdout,
        ) as writer,
    ):
        for table in scoring.tables(loader):
            writer.write(table)
            done += table.num_rows
            events.tick(Progress("predict", done, total))
        if done == 0:
            writer.write(no_rows(source, request.keep, scoring.names))
        drift = check_drift(trained, loader.met, events, request.allowed)
    events.emit("output.written", f"{request.output}  {done:,} rows", {"path": request.output, "rows": done})
    return PredictOutcome(request.output, done, drift)


class Scoring(Protocol):
    """How rows become scores: one for each label, or that of a user and an item."""

    @property
    def names(self) -> list[str]:
        """The columns of scores."""

    def columns(self, there: Collection[str]) -> list[str]:
        """The raw columns that rows with the columns ``there`` are read by."""

    def loader(self, rows: Rows, batch_size: int, keep: Sequence[str]) -> StreamLoader: ...

    def tables(self, loader: StreamLoader) -> Iterator[pa.Table]:
        """The kept columns and the scores, batch by batch."""


def ask_for_gates(trained: Trained) -> None:
    """Raises UsageError where the run's model has no gates to write."""
    if not hasattr(trained.model, "write_gates"):
        raise UsageError(f"--gates: {trained.spec.model.name} has no experts whose gates could be written")
    setattr(trained.model, "write_gates", True)  # noqa: B010  a plain attribute, which mypy takes for a module


@dataclass(frozen=True, slots=True)
class RowScores:
    """The score of each label of a row."""

    trained: Trained

    @property
    def names(self) -> list[str]:
        from rechub_cli.workflows.scoring import score_names

        return score_names(self.trained.encoder.schema.labels)

    def columns(self, there: Collection[str]) -> list[str]:
        return self.trained.encoder.for_columns(there).columns

    def loader(self, rows: Rows, batch_size: int, keep: Sequence[str]) -> StreamLoader:
        from rechub_cli.data.stream_loader import StreamLoader

        encoder = self.trained.encoder.for_columns(rows.schema.names)
        return StreamLoader(rows, encoder, batch_size, keep=keep, labels=False)

    def tables(self, loader: StreamLoader) -> Iterator[pa.Table]:
        from rechub_cli.workflows.scoring import score_table

        for scored in self.trained.scorer.batches(self.trained.model, loader):
            yield score_table(scored.scores, scored.extras, scored.rows.carried, self.names)
