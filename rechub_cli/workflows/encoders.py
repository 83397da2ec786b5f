"""The encoder of a run: fitted by a process of its own, or known already; saved, and kept for later trainings."""

from __future__ import annotations

from collections.abc import Generator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rechub_cli.apart import Tell, apart
from rechub_cli.errors import DataError, RunFailed
from rechub_cli.run.directory import Run
from rechub_cli.run.events import Events
from rechub_cli.run.signals import Stop
from rechub_cli.workflows.dates import day_of
from rechub_cli.workflows.sources import Parts, reading

if TYPE_CHECKING:
    from rechub_cli.data.encoder import Encoder
    from rechub_cli.spec.model import Spec
    from rechub_cli.workflows.train import Job
    from rechub_cli.workflows.warm_start import Start


def fit_encoder(
    spec: Spec, parts: Parts, events: Events, stop: Stop, start: Start | None = None, date: str | None = None
) -> Encoder:
    """One pass over the training rows, on from the encoder of the run that this one starts from.

    Raises:
        SpecError: what that run learnt cannot go on.
    """
    return next(fit_and_encode(spec, parts, partial(tell_reading, events, stop), start, date))


def fit_and_encode(
    spec: Spec,
    parts: Parts,
    told: Tell,
    start: Start | None = None,
    date: str | None = None,
    *,
    cache: Path | None = None,
    encode: bool = False,
) -> Generator[Encoder]:
    """The encoder, as ``fit_encoder``, from the ``cache`` if it is there; then, where asked for, what
    ``make_loaders`` will look for in the cache.

    Rows with histories are left to it: they need the log in order.
    """
    from rechub_cli.data import fits, memory
    from rechub_cli.data.cache import build_or_open
    from rechub_cli.data.encoder import Encoder

    memory.settle()
    day = day_of(date)
    if start is not None:
        start.check(spec)
    known, fresh = (start.encoder, start.fresh_features) if start else (None, ())
    kept = fits.recall(cache, fits.fit_key(spec, parts.train, day)) if cache and start is None else None
    told_rows = partial(told, "reading", parts.train.count_rows())
    encoder = kept or Encoder.fit(spec, parts.train, told_rows, earlier=known, fresh=fresh, today=day)
    yield encoder
    if cache is None or not encode or encoder.plan.histories:
        return
    for name, part in (("valid", parts.valid), ("train", parts.train)):
        if part is not None:
            build_or_open(cache, part, encoder, partial(told, f"encoding {name}", part.count_rows()))


def tell_reading(events: Events, stop: Stop, phase: str, total: int | None, done: int) -> None:
    """How many rows of a phase are read; raises Interrupted where a signal came."""
    reading(events, stop, phase, total)(done)


def preparing(job: Job, run: Run, spec: Spec, parts: Parts, *, encode: bool) -> Generator[Encoder]:
    """As ``fit_and_encode``, in a process of its own; for a run that goes on, its encoder as it was saved."""
    if job.point is not None:
        return kept_encoder(run)
    start, day, cache = job.start, job.request.date, cache_of(run, spec)
    told = partial(tell_reading, job.events, job.stop)
    return apart(lambda tell: fit_and_encode(spec, parts, tell, start, day, cache=cache, encode=encode), told)


def save_encoder(job: Job, run: Run, spec: Spec, parts: Parts, encoder: Encoder) -> dict[str, str]:
    """Into the run, unless it is there; and into the cache, for later trainings on the same rows. Returns its key."""
    from rechub_cli.data import fits

    folder, cache = run.path / "encoder", cache_of(run, spec)
    if job.point is not None:
        return {}
    encoder.save(folder)
    if cache is None or job.start is not None or encoder.reference is None:
        return {}
    key = fits.fit_key(spec, parts.train, day_of(job.request.date))
    fits.keep(cache, key, folder, encoder.reference.rows)
    return {"encoder": key}


def cache_of(run: Run, spec: Spec) -> Path | None:
    return None if spec.data.cache == "off" else run.cache


def kept_encoder(run: Run) -> Generator[Encoder]:
    """The one that was fitted when the run began. Raises DataError if it is damaged."""
    from rechub_cli.data.encoder import Encoder

    try:
        yield Encoder.load(run.path / "encoder")
    except RunFailed as error:
        raise DataError(str(error)) from error
