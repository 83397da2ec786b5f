"""``rechub train-ctr`` and ``train-mtl``: from raw files and a spec to a run directory.

``train`` is the frame that every training stands in: what differs is how a job is learnt, and rehearsed.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rechub_cli.errors import SpecError, UsageError
from rechub_cli.run.checkpoints import Checkpoints
from rechub_cli.run.directory import Run, check_output
from rechub_cli.run.events import Events
from rechub_cli.run.signals import Stop
from rechub_cli.workflows import asked, fitting, resuming
from rechub_cli.workflows.capacity import check_memory
from rechub_cli.workflows.drift import keep_valid
from rechub_cli.workflows.encoders import fit_encoder, preparing, save_encoder
from rechub_cli.workflows.history import PartEncoders, sort_log
from rechub_cli.workflows.loaders import check_parts, make_loaders
from rechub_cli.workflows.newdata import text_type
from rechub_cli.workflows.recording import describe_data, keep_changes, keep_spec, recording
from rechub_cli.workflows.request import TrainOutcome, TrainRequest
from rechub_cli.workflows.resolved import import_torch_meanwhile, read_and_resolve
from rechub_cli.workflows.results import (
    best_of,
    describe_best,
    describe_model,
    describe_spec,
    tell_metrics,
    warn_no_validation,
)
from rechub_cli.workflows.sources import (
    Parts,
    Sources,
    check_counts,
    counted,
    cut_parts,
)
from rechub_cli.workflows.warm_start import Start, start_of

if TYPE_CHECKING:
    from rechub_cli.run import RunWatcher
    from rechub_cli.spec.model import Spec
    from rechub_cli.spec.read import ReadSpec


@dataclass(frozen=True, slots=True)
class Job:
    """A training whose spec is known to be sound, and whom it tells."""

    command: str
    request: TrainRequest
    read: ReadSpec
    spec: Spec
    sources: Sources
    events: Events
    stop: Stop
    point: str | None = None  # the checkpoint of the run to go on from
    start: Start | None = None  # what --init-from names

    @property
    def base(self) -> Path:
        """The folder that the spec's paths and local plugins start from."""
        return self.read.base


def train_ctr(request: TrainRequest, events: Events, stop: Stop) -> TrainOutcome:
    """Train a CTR model.

    Raises:
        RechubError: with the exit code of its kind; what was wrong before the first step leaves nothing behind.
    """
    return train("train-ctr", request, events, stop, learn, rehearse)


def train_mtl(request: TrainRequest, events: Events, stop: Stop) -> TrainOutcome:
    """Train a model of several labels.

    Raises:
        RechubError: with the exit code of its kind; what was wrong before the first step leaves nothing behind.
    """
    return train("train-mtl", request, events, stop, learn, rehearse)


def train(
    command: str,
    request: TrainRequest,
    events: Events,
    stop: Stop,
    learn: Callable[[Job, Run], TrainOutcome],
    rehearse: Callable[[Job], TrainOutcome],
) -> TrainOutcome:
    """Check what was asked; then learn within a run directory that records it, or rehearse for ``--dry-run``.

    Raises:
        RechubError: with the exit code of its kind; what was wrong before the first step leaves nothing behind.
    """
    check_counts(limit_rows=request.limit_rows, threads=request.threads)
    if request.output == "-":
        raise UsageError("--output names the run directory; a run cannot go to standard output")
    if request.profile is not None:
        check_trace(request.profile, request.overwrite)
    with resuming.reopened(command, request, events, stop) as kept:
        if kept is None:
            check_output(request.output, request.overwrite or request.resume != "never", request.wait)
        elif kept.complete:
            events.emit("run.end", f"{kept.run.path} is already complete", {"status": "done", "exit": 0})
            return kept.outcome()
        else:
            request = kept.request
        try:
            read, spec, sources = read_and_resolve(request, command)
        except SpecError as error:
            error.add_note(f"Nothing was written. Check again without training: rechub validate {request.spec}")
            raise
        stop.events = events
        point = kept.point if kept else None
        job = Job(command, request, read, spec, sources, events, stop, point, start_of(request, command, read))
        if request.dry_run:
            return rehearse(job)
        if kept is None:
            run = Run.create(
                request.output,
                spec.model.name,
                runs_dir=request.runs_dir,
                overwrite=request.overwrite,
                wait=request.wait,
                argv=request.argv,
                check=stop.check,
            )
        else:
            kept.check(read, sources, request.allow_new_data)
            kept.begin(read, sources)
            run = kept.run
        with recording(run, events, asked.command_to_resume(command, request.spec, run, read)):
            began = {"path": str(run.path), "pid": run.info["pid"], "seed": spec.trainer.seed}
            events.emit("run.start", str(run.path), began)
            if not run.locks:
                text = f"{run.path} is on a file system without locks: take care that no other process writes this run"
                events.emit("warning", text, level="warn")
            keep(job, run)
            events.emit("spec.resolved", describe_spec(request, spec), {"spec": request.spec, "model": spec.model.name})
            return learn(job, run)


def keep(job: Job, run: Run) -> None:
    """Put into the run what it was asked for."""
    if job.point is not None:
        keep_changes(run, job.read, job.spec)
        return
    keep_spec(run, job.read, job.spec)
    columns = {column.name: text_type(column.type) for column in job.sources.train.schema}
    run.update(command=job.command, columns=columns)
    run.update(init_from=job.start and job.start.describe(), date=job.request.date)
    asked.keep_request(run, job.command, job.request, job.read, job.sources, job.request.init_from)


def learn(job: Job, run: Run) -> TrainOutcome:
    """From rows with labels to the best weights and the scores of the test rows."""
    from rechub_cli.data.cache import cache_keys

    started = time.monotonic()
    spec, events, stop = job.spec, job.events, job.stop
    fitting.check_device(spec)
    parts = cut_parts(spec, job.sources, job.request.limit_rows)
    with contextlib.closing(preparing(job, run, spec, parts, encode=True)) as prepared:
        importing = import_torch_meanwhile(job.command)
        encoder = next(prepared)
        check_memory(encoder.schema)
        keys = save_encoder(job, run, spec, parts, encoder)
        importing.join()

        from rechub_cli.run import RunWatcher
        from rechub_cli.trainers import runtime

        runtime.prepare(job.request.threads)
        runtime.set_seed(spec.trainer.seed)
        model = fitting.build_model(spec, encoder.schema, job.base)
        encoders = sort_log(encoder, parts, events, stop, job.start)
        encoders.keep(run.path, events, stop)
        check_parts(spec, parts, encoders, events, stop)
        next(prepared, None)  # what it has left to encode
    loaders = make_loaders(spec, parts, encoders, run.cache, events, stop)
    keys |= cache_keys(train=loaders.train, valid=loaders.valid)
    run.update(data=describe_data(job.sources, parts, loaders.rows), cache=keys)
    watcher = RunWatcher(events, stop)
    checkpoints = fitting.make_checkpoints(spec, run)
    trainer = fitting.make_trainer(job.command, spec, encoder.schema, model, job.base, watcher, checkpoints)
    if job.point is not None:
        resuming.restore(run, job.point, trainer, watcher)
    elif job.start:
        job.start.carry(encoder, model, trainer, spec, events)
    run.update(device=str(trainer.device), training=True)
    describe_model(model, trainer, events)
    if loaders.valid is None:
        warn_no_validation(events)
    with fitting.blaming_foreign(model, spec):
        with tracing(job, trainer):
            trainer.fit(loaders.train, loaders.valid)
        keep_valid(run.path, loaders.valid)
        test = score_test(spec, parts, encoders, trainer, job.base, run, events)
    return finish(job, run, watcher, test, time.monotonic() - started)


@contextlib.contextmanager
def tracing(job: Job, trainer: Any) -> Iterator[None]:
    """``--profile``: some steps are traced, and what they were spent on is told."""
    if job.request.profile is None:
        yield
        return
    from rechub_cli.trainers.precision import usable_precision
    from rechub_cli.trainers.trace import Traced, describe

    precision = usable_precision(job.spec.trainer.precision, trainer.device)
    traced = Traced(trainer, Path(job.request.profile), precision)
    try:
        yield
    finally:
        for line in describe(traced.finish()):
            job.events.emit("message", line)


def check_trace(target: str, overwrite: bool) -> None:
    from rechub_cli.data.writers import check_target

    if target == "-":
        raise UsageError("--profile names a file; a trace cannot go to standard output")
    check_target(Path(target), overwrite)


def finish(job: Job, run: Run, watcher: RunWatcher, test: dict[str, float], seconds: float) -> TrainOutcome:
    """Write down, and tell, what training came to."""
    best = watcher.best or {}
    run.update(best=best, test=test, seconds=round(seconds, 3))
    Checkpoints(run.path).settle()
    job.events.emit("run.end", describe_best(job.spec, best, seconds), {"status": "done", "exit": 0, **best_of(best)})
    return TrainOutcome(run.path, best, test, watcher.rows)


def score_test(
    spec: Spec, parts: Parts, encoders: PartEncoders, trainer: Any, base: Path, run: Run, events: Events
) -> dict[str, float]:
    """Measure the best weights once on the test rows, and keep those rows' scores."""
    if parts.test is None:
        return {}
    from rechub_cli.data.stream_loader import StreamLoader
    from rechub_cli.workflows.scoring import measure_and_write

    names = [spec.user, spec.item, spec.group, spec.time]
    columns = [name for name in names if name] + [label.column or name for name, label in spec.labels.items()]
    keep = [name for name in dict.fromkeys(columns) if name != "score"]  # that of the model stands there
    loader = StreamLoader(parts.test, encoders.of("test"), spec.trainer.batch_size, keep=keep, labels=True)
    batches = counted(loader, events, "test", parts.test.count_rows())
    target = run.path / "predictions" / "test.parquet"
    wanted = fitting.load_named(fitting.metrics_of(spec), base)
    metrics = measure_and_write(trainer.scorer, trainer.model, batches, wanted, target)
    tell_metrics(events, "", metrics, {"part": "test"})
    return metrics


def rehearse(job: Job) -> TrainOutcome:
    """``--dry-run``: all of it up to one batch through the model, on the first rows; nothing is written."""
    from rechub_cli.data.stream_loader import StreamLoader
    from rechub_cli.run import RunWatcher
    from rechub_cli.trainers import runtime

    spec, request, events = job.spec, job.request, job.events
    fitting.check_device(spec)
    parts = cut_parts(spec, job.sources, min(request.limit_rows or 10_000, 10_000))
    encoder = fit_encoder(spec, parts, events, job.stop, job.start, request.date)
    check_memory(encoder.schema)
    encoder = sort_log(encoder, Parts(parts.train), events, job.stop, job.start).of("train")
    runtime.prepare(request.threads)
    model = fitting.build_model(spec, encoder.schema, job.base)
    watcher = RunWatcher(events, job.stop)
    trainer = fitting.make_trainer(job.command, spec, encoder.schema, model, job.base, watcher, None)
    if job.start:
        job.start.carry(encoder, model, trainer, spec, events)
    describe_model(model, trainer, events)
    for batch in StreamLoader(parts.train, encoder, spec.trainer.batch_size, labels=True):
        with fitting.blaming_foreign(model, spec):
            loss, rows = trainer.step(batch)
        events.emit("message", f"one step over {rows:,} rows: loss {float(loss):.4f}; nothing was written")
        break
    return TrainOutcome(None, {}, {}, [])
