"""``rechub train-match``: from a log and a spec to users and items as vectors, in a run directory."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rechub_cli import plugins
from rechub_cli.run.directory import Run
from rechub_cli.run.events import Events, Progress
from rechub_cli.run.signals import Stop
from rechub_cli.workflows import fitting, resuming
from rechub_cli.workflows.capacity import check_memory
from rechub_cli.workflows.drift import keep_valid
from rechub_cli.workflows.encoders import fit_encoder, preparing, save_encoder
from rechub_cli.workflows.match_data import MatchData, prepare
from rechub_cli.workflows.match_spec import is_counting, metrics_of, mode_of, settle
from rechub_cli.workflows.recording import describe_data
from rechub_cli.workflows.request import TrainOutcome, TrainRequest
from rechub_cli.workflows.resolved import import_torch_meanwhile
from rechub_cli.workflows.results import describe_model, tell_metrics, warn_no_validation
from rechub_cli.workflows.sources import Parts, cut_parts
from rechub_cli.workflows.train import Job, finish, tracing, train

if TYPE_CHECKING:
    from torch import nn

    from rechub_cli.data.encoder import Encoder
    from rechub_cli.run import Checkpoints, RunWatcher
    from rechub_cli.spec.model import Spec
    from rechub_cli.trainers.match import MatchTrainer

# Baselines that stand beside a result where the spec names none, and the items that they can do in a minute.
BASELINES = {"popular": 2**31, "item_knn": 100_000, "ease": 6_000}


def train_match(request: TrainRequest, events: Events, stop: Stop) -> TrainOutcome:
    """Train a retrieval model.

    Raises:
        RechubError: with the exit code of its kind; what was wrong before the first step leaves nothing behind.
    """
    return train("train-match", request, events, stop, learn, rehearse)


def learn(job: Job, run: Run) -> TrainOutcome:
    """From a log to the best weights, and how they rank beside the baselines."""
    from rechub_cli.data.cache import cache_keys

    started = time.monotonic()
    events, stop = job.events, job.stop
    fitting.check_device(job.spec)
    spec = settle(job.spec, job.sources, job.base, events)
    parts = cut_parts(spec, job.sources, job.request.limit_rows)
    with contextlib.closing(preparing(job, run, spec, parts, encode=False)) as prepared:
        importing = import_torch_meanwhile(job.command)
        encoder = next(prepared)
    data = read_log(job, spec, parts, encoder)
    spec, batch_size = data.spec, data.spec.trainer.batch_size
    known = save_encoder(job, run, spec, parts, encoder)
    data.save(run.path)
    features = data.spec.model_dump(mode="json")["features"]
    run.update(
        spec={**run.info["spec"], "features": features}, data=describe_data(job.sources, data.parts, data.n_rows)
    )
    queries: dict[str, Any] = {
        part: data.queries(part, batch_size, run.cache, events, stop) for part in ("valid", "test") if part in data.rows
    }
    importing.join()

    from rechub_cli.run import RunWatcher
    from rechub_cli.trainers import runtime

    runtime.prepare(job.request.threads)
    runtime.set_seed(spec.trainer.seed)
    model = fitting.build_model(spec, data.encoder.schema, job.base)
    watcher, checkpoints = RunWatcher(events, stop), fitting.make_checkpoints(spec, run)
    valid = queries.get("valid")
    if valid is None:
        warn_no_validation(events)
    with fitting.blaming_foreign(model, spec):
        if is_counting(spec, job.base):
            run.update(training=True)
            count(model, data, valid, watcher, checkpoints)
        else:
            batches = data.training(batch_size, job.base, run.cache, events, stop)
            trainer = match_trainer(spec, model, data, job.base, watcher, checkpoints)
            if job.point is not None:
                resuming.restore(run, job.point, trainer, watcher)
            elif job.start:
                job.start.carry(data.encoder, model, trainer, spec, events)
            keys = cache_keys(train=batches, **queries)
            run.update(device=str(trainer.device), training=True, cache=known | keys)
            describe_model(model, trainer, events)
            with tracing(job, trainer):
                trainer.fit(batches, valid)
        keep_valid(run.path, valid)
        events.tick(Progress("test", 0, None))
        test = compare(model, data, queries, job.base, watcher, run)
    return finish(job, run, watcher, test, time.monotonic() - started)


def read_log(job: Job, spec: Spec, parts: Parts, encoder: Encoder) -> MatchData:
    """All that is known before the model: encoder, catalogue, who had what, the log in order."""
    check_memory(encoder.schema)
    return prepare(spec, job.sources, parts, encoder, job.events, job.stop, job.start)


def match_trainer(
    spec: Spec, model: nn.Module, data: MatchData, base: Path, watcher: RunWatcher, checkpoints: Checkpoints | None
) -> MatchTrainer:
    """The trainer that the spec describes.

    Raises:
        SpecError: an optimizer, a sampler, a loss or a metric does not fit.
        Unavailable: the device is not there.
    """
    from rechub_cli.trainers.match import MatchTrainer

    wanted, names = spec.trainer, metrics_of(spec)
    return MatchTrainer(
        model,
        mode=mode_of(spec, base),
        **fitting.trainer_options(spec, watcher, checkpoints),
        catalogue=data.catalogue,
        negatives=in_place("samplers", wanted.negatives, {}, base),
        loss=in_place("retrieval_losses", wanted.loss, wanted.loss_params, base),
        loss_params=dict(wanted.loss_params),
        monitor=names[0],
        metrics=names[1:],
        exclude_seen=wanted.exclude_seen,
    )


def in_place(kind: str, wanted: Any, options: Mapping[str, Any], base: Path) -> Any:
    """A plugin named in place, as ``./file.py:Class`` beside ``base``, is loaded; names stay names."""
    named = wanted if isinstance(wanted, dict) else {**options, "name": wanted}
    if ":" not in str(named.get("name")):
        return wanted
    made = plugins.load(kind, named["name"], base)
    return made(**{key: value for key, value in named.items() if key != "name"})


def count(
    model: nn.Module, data: MatchData, valid: Iterable[Any] | None, watcher: RunWatcher, checkpoints: Checkpoints
) -> None:
    """A model that counts: one pass over who had what, told and kept like an epoch."""
    from rechub_cli.trainers.ranked import load_metrics
    from rechub_cli.trainers.ranking import Ranker
    from rechub_cli.trainers.watch import Epoch

    started = time.perf_counter()
    n_rows = data.learn_by_counting(model)
    trained = time.perf_counter() - started
    metrics: dict[str, float] = {}
    if valid is not None:
        ranker = Ranker(model, data.catalogue, watcher=watcher)
        exclude = data.spec.trainer.exclude_seen
        metrics = ranker.measure(valid, load_metrics(metrics_of(data.spec)), exclude_seen=exclude)
    checkpoints.save(1, 1, model, {}, metrics, True)
    seconds = time.perf_counter() - started
    watcher.on_start(1, 1)
    watcher.on_epoch(Epoch(1, 1, 0.0, metrics, 0.0, seconds, n_rows / max(trained, 1e-9), True))


def compare(
    model: nn.Module, data: MatchData, queries: dict[str, Any], base: Path, watcher: RunWatcher, run: Run
) -> dict[str, float]:
    """The best weights on the test rows (validation, where there are none) beside the baselines."""
    from rechub_cli.trainers import runtime
    from rechub_cli.trainers.ranked import load_metrics
    from rechub_cli.trainers.ranking import Ranker

    if not queries:
        return {}
    spec, part = data.spec, list(queries)[-1]
    metrics, exclude = load_metrics(metrics_of(spec)), spec.trainer.exclude_seen
    device = runtime.find_device(spec.trainer.device)

    def measured(model: nn.Module, where: Any) -> dict[str, float]:
        ranker = Ranker(model, data.catalogue, device=where, precision=spec.trainer.precision, watcher=watcher)
        return ranker.measure(queries[part], metrics, exclude_seen=exclude)

    found = measured(model, "cpu" if is_counting(spec, base) else device)
    tell_metrics(watcher.events, f"{part} {spec.model.name:<10}", found, {"part": part, "model": spec.model.name})
    beside = {}
    for name in baselines_of(data, base):
        baseline = plugins.load("models", name, base)(data.encoder.schema)
        data.learn_by_counting(baseline)
        beside[name] = measured(baseline, "cpu")
        tell_metrics(watcher.events, f"{part} {name:<10}", beside[name], {"part": part, "model": name})
    run.update(baselines={part: beside})
    return found if part == "test" else {}


def baselines_of(data: MatchData, base: Path) -> list[str]:
    """Counting models to stand beside the result: those the spec names, else the ones that take no long time."""
    spec = data.spec
    if not spec.user:
        return []
    if spec.trainer.baselines is not None:
        return [name for name in spec.trainer.baselines if name != spec.model.name]
    return [name for name, most in BASELINES.items() if len(data.catalogue) <= most and name != spec.model.name]


def rehearse(job: Job) -> TrainOutcome:
    """``--dry-run``: all of it up to one batch through the model, on the first rows; nothing is written."""
    import tempfile

    from rechub_cli.run import RunWatcher
    from rechub_cli.trainers import runtime

    fitting.check_device(job.spec)
    spec = settle(job.spec, job.sources, job.base, job.events)
    parts = cut_parts(spec, job.sources, min(job.request.limit_rows or 100_000, 100_000))
    encoder = fit_encoder(spec, parts, job.events, job.stop, job.start, job.request.date)
    data = read_log(job, spec, parts, encoder)
    runtime.prepare(job.request.threads)
    model = fitting.build_model(data.spec, data.encoder.schema, job.base)
    watcher = RunWatcher(job.events, job.stop)
    if is_counting(data.spec, job.base):
        rows = data.learn_by_counting(model)
        job.events.emit("message", f"counted {rows:,} interactions; nothing was written")
        return TrainOutcome(None, {}, {}, [])
    trainer = match_trainer(data.spec, model, data, job.base, watcher, None)
    if job.start:
        job.start.carry(data.encoder, model, trainer, data.spec, job.events)
    describe_model(model, trainer, job.events)
    with tempfile.TemporaryDirectory() as folder, fitting.blaming_foreign(model, data.spec):
        for batch in data.training(data.spec.trainer.batch_size, job.base, Path(folder), job.events, job.stop):
            loss, rows = trainer.step(batch)
            job.events.emit("message", f"one step over {rows:,} rows: loss {float(loss):.4f}; nothing was written")
            break
    return TrainOutcome(None, {}, {}, [])
