"""``rechub predict``: scores of raw rows, in their order. Nothing is written into the run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from rechub_cli.errors import UsageError
from rechub_cli.run.events import Events, Progress
from rechub_cli.run.signals import Stop
from rechub_cli.workflows.fitting import blaming_foreign
from rechub_cli.workflows.load import open_trained
from rechub_cli.workflows.newdata import check_columns, check_request, open_data, prepare_threads, report_unseen
from rechub_cli.workflows.sources import check_counts, limited


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


@dataclass(frozen=True, slots=True)
class PredictOutcome:
    """Where the scores are."""

    output: str
    rows: int

    def to_json(self) -> dict[str, Any]:
        return {"output": self.output, "rows": self.rows}


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
    if "score" in request.keep:
        raise UsageError("--keep score: the predictions are called score; rename the column")
    if request.output != "-":
        check_target(Path(request.output), request.overwrite)
    stop.events = events
    trained = open_trained(Path(request.run), device=request.device, plugin=request.plugin, events=events, stop=stop)
    source = open_data(trained, data, request.input_format)
    check_columns(data, source, trained.encoder.columns)
    there = source.column_kinds()
    not_kept = [name for name in request.keep if name not in there]
    if not_kept:
        raise UsageError(f"--keep: {data} has no column {', '.join(not_kept)}; columns there: {', '.join(there)}")

    from rechub_cli.data.loader import StreamLoader
    from rechub_cli.data.writers import open_writer
    from rechub_cli.workflows.scoring import no_rows, score_names, score_table

    prepare_threads(request.threads)
    rows = limited(source, request.limit_rows)
    total = rows.count_rows()
    names = score_names(trained.encoder.schema.labels)
    loader = StreamLoader(rows, trained.encoder, request.batch_size or 8192, keep=request.keep, labels=False)
    done = 0
    with (
        blaming_foreign(trained.model, trained.spec.model.name, "scoring"),
        open_writer(
            request.output,
            format=request.output_format,
            overwrite=request.overwrite,
            header=request.header,
            stream=stdout,
        ) as writer,
    ):
        for scored in trained.scorer.batches(trained.model, loader):
            table = score_table(scored.scores, scored.extras, scored.rows.carried, names)
            writer.write(table)
            done += table.num_rows
            events.tick(Progress("predict", done, total))
        if done == 0:
            writer.write(no_rows(source, request.keep, names))
    report_unseen(loader, events)
    events.emit("output.written", f"{request.output}  {done:,} rows", {"path": request.output, "rows": done})
    return PredictOutcome(request.output, done)
