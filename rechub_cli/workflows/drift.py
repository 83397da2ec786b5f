"""Whether new rows are still what the model learnt from: unseen and missing values, means and lengths, by column.

What is compared was counted on the way, while the rows were encoded; see ``data.tally`` and ``data.reference``.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from rechub_cli.errors import DataError, UsageError
from rechub_cli.run.events import Events
from rechub_cli.workflows.sources import warn_unseen

if TYPE_CHECKING:
    from rechub_cli.data.reference import Reference
    from rechub_cli.data.tally import Tally
    from rechub_cli.workflows.load import Trained

FEW_ROWS = 100  # below these nothing is judged: it would be chance
ENOUGH_ROWS = 1000  # for a share of unseen values to be an error, of the rows and of validation's
TIMES = 3.0  # as many unseen values as in validation are an error, where they are also ...
SHARE = 0.05  # ... this share of rows of a log,
SHARE_OF_USERS = 0.5  # or of a list of users, which may well be new
MOSTLY_MISSING = 0.9  # what was missing so often in training may be missing always
WORTH_A_WARNING = {"unseen": 0.02, "missing": 0.02}  # and twice (missing: three times) what it was
SHIFT = 0.5  # of a mean, in standard deviations of training
MOST_EVENTS = 20
ITEMS, USERS, LOG = "items", "users", "log"  # what the rows are


@dataclass(frozen=True, slots=True)
class Allowed:
    """Which columns may have drifted without an error: all, or those named."""

    all: bool = False
    columns: tuple[str, ...] = ()

    def check(self, trained: Trained) -> None:
        """Raises UsageError for a name that is no column of the model's."""
        known = [*trained.encoder.plan.features, *filter(None, (trained.spec.item, trained.spec.user))]
        for name in self.columns:
            if name not in known:
                raise UsageError(f"--allow-drift-of {name}: the model has no such column; it has {', '.join(known)}")

    def __contains__(self, column: str) -> bool:
        return self.all or column in self.columns


NOTHING = Allowed()


@dataclass(frozen=True, slots=True)
class Shift:
    """One measure of one column, now and in training (None: not known)."""

    column: str
    measure: str  # unseen, missing, mean, length
    now: float
    training: float | None = None
    std: float | None = None  # of training, for a mean
    verdict: str = "ok"  # warn: worth a look; error: no output can be trusted

    @property
    def value(self) -> float:
        """What a gate compares: a share, a length, or how many standard deviations a mean has moved."""
        if self.measure != "mean":
            return self.now
        if self.training is None or self.std is None:
            return math.nan
        moved = self.now - self.training
        if abs(moved) <= 1e-6 * abs(self.training):
            return 0.0
        return moved / self.std if self.std else math.copysign(math.inf, moved)

    def __str__(self) -> str:
        now, then = (_shown(self.measure, value) for value in (self.now, self.training))
        if self.measure == "unseen":
            return f"{self.column}: {now} of the values were never seen in training; of the validation rows' {then}"
        if self.measure == "missing":
            return f"{self.column}: missing in {now} of the rows; in training {then}"
        if self.measure == "mean":
            return f"{self.column}: mean {now}; in training {then}, {abs(self.value):.1f} standard deviations away"
        return f"{self.column}: {now} values a row; in training {then}"

    def to_json(self) -> dict[str, Any]:
        found = {"now": self.now, "training": self.training, "verdict": self.verdict}
        return {**found, "shift": self.value} if self.measure == "mean" else found


@dataclass(frozen=True, slots=True)
class Drift:
    """How all columns compare."""

    rows: int = 0
    shifts: tuple[Shift, ...] = ()
    reference: bool = False  # whether the run kept what training had
    unseen: Mapping[str, int] = field(default_factory=dict)  # counts

    @property
    def values(self) -> dict[str, float]:
        """``drift.unseen.item_id`` and so on, for gates."""
        return {f"drift.{shift.measure}.{shift.column}": shift.value for shift in self.shifts}

    def errors(self, allowed: Collection[str] | Allowed = ()) -> list[Shift]:
        return [shift for shift in self.shifts if shift.verdict == "error" and shift.column not in allowed]

    def to_json(self) -> dict[str, Any]:
        columns: dict[str, Any] = {}
        for shift in self.shifts:
            columns.setdefault(shift.column, {})[shift.measure] = shift.to_json()
        return {"rows": self.rows, "reference": self.reference, "columns": columns}

    def tell(self, events: Events) -> None:
        """Warnings for what has moved; every column at the level of debug."""
        warn_unseen("the data", dict(self.unseen), self.rows, events)
        for column, line in self.table():
            measures = {shift.measure: shift.to_json() for shift in self.shifts if shift.column == column}
            events.emit("data.column", line, {"column": column, **measures}, level="debug")
        moved = sorted((shift for shift in self.shifts if shift.verdict != "ok"), key=lambda one: one.verdict)
        for shift in moved[:MOST_EVENTS]:
            what = {"column": shift.column, "measure": shift.measure, **shift.to_json()}
            events.emit("data.drift", str(shift), what, level="warn")
        if len(moved) > MOST_EVENTS:
            more = len(moved) - MOST_EVENTS
            events.emit("data.drift", f"{more} more columns have drifted; -v shows all", {"more": more}, level="warn")

    def table(self) -> list[tuple[str, str]]:
        """(column, a line of text) for each column: every measure now, and in training."""
        columns = list(dict.fromkeys(shift.column for shift in self.shifts))
        width = max(map(len, columns), default=0)
        lines = []
        for column in columns:
            said = [
                f"{shift.measure} {_shown(shift.measure, shift.now):>8} ({_shown(shift.measure, shift.training)})"
                for shift in self.shifts
                if shift.column == column
            ]
            lines.append((column, f"{column:<{width}}  {'  '.join(said)}"))
        return lines

    def raise_if_broken(self, allowed: Allowed) -> None:
        """Raises DataError that names every column whose drift is an error and not allowed."""
        found = self.errors(allowed)
        if found:
            names = ",".join(dict.fromkeys(shift.column for shift in found))
            raise DataError(
                "\n".join(["the data is not like what the model learnt from:", *(f"  {shift}" for shift in found)])
                + f"\nmend the data; or if it is meant to be so, use --allow-drift-of {names}, or --allow-drift"
            )


UNKNOWN = Drift()


def check_drift(trained: Trained, met: Tally, events: Events, allowed: Allowed, what: str = LOG) -> Drift:
    """Compare rows that were encoded with training, and tell.

    Args:
        what: the rows are: of a log, as those of training; a list of users; a table of items.

    Raises:
        DataError: a column is broken, and not allowed to be: call it before an output is finished.
    """
    from rechub_cli.data.reference import Reference

    reference = Reference.load(trained.run.path / "encoder")
    drift = compare(reference, met, what, list(trained.encoder.plan.features))
    drift.tell(events)
    drift.raise_if_broken(allowed)
    return drift


def compare(reference: Reference | None, met: Tally, what: str = LOG, order: Sequence[str] = ()) -> Drift:
    """Every column's measures beside those of training; the columns named by ``order`` first."""
    shifts: list[Shift] = []
    if met.rows:
        for name in [*(name for name in order if name in met.names), *sorted({*met.names} - {*order})]:
            known: Mapping[str, float] = {} if reference is None else reference.columns.get(name, {})
            for measure, now in met.shares(name).items():
                shift = Shift(name, measure, now, known.get(measure), known.get("std"))
                shifts.append(_judged(shift, met.rows, 0 if reference is None else reference.valid_rows, what))
    return Drift(met.rows, tuple(shifts), reference is not None, met.unseen)


def _judged(shift: Shift, rows: int, valid_rows: int, what: str) -> Shift:
    now, then = shift.now, shift.training
    if then is None or rows < FEW_ROWS:
        return shift
    if shift.measure == "missing":
        if now == 1 and then <= MOSTLY_MISSING:
            return replace(shift, verdict="error")
        moved = now - then >= 0.1 or now >= max(WORTH_A_WARNING["missing"], TIMES * then)
    elif shift.measure == "unseen":
        most = {LOG: SHARE, USERS: SHARE_OF_USERS}.get(what, math.inf)
        if min(rows, valid_rows) >= ENOUGH_ROWS and now >= max(TIMES * then, most):
            return replace(shift, verdict="error")
        moved = what == LOG and now >= max(WORTH_A_WARNING["unseen"], 2 * then)
    elif what != LOG:  # means over users or items are not those over the rows of a log
        moved = False
    elif shift.measure == "mean":
        moved = abs(shift.value) >= SHIFT
    else:
        moved = not 0.5 * then <= now <= 2 * then
    return replace(shift, verdict="warn") if moved else shift


def keep_valid(trained_on: Any, loader: Any) -> None:
    """Add to a run's reference what its validation rows were like: how many values were unseen there.

    Args:
        trained_on: the run's directory. loader: of its validation rows, which have been read; None: there are none.
    """
    from rechub_cli.data.reference import Reference

    folder = trained_on / "encoder"
    reference = Reference.load(folder)
    blocks = getattr(loader, "blocks", None)
    met: Tally | None = blocks.stats.met if blocks is not None else getattr(loader, "met", None)
    if reference is not None and met is not None and met.rows:
        reference.with_valid(met).save(folder)


def _shown(measure: str, value: float | None) -> str:
    if value is None:
        return "not known"
    return f"{value:.1%}" if measure in ("unseen", "missing") else f"{value:.4g}"


def allowed_of(all_columns: bool, columns: Sequence[str] | None) -> Allowed:
    """What the flags --allow-drift and --allow-drift-of say."""
    named = [name.strip() for one in columns or () for name in one.split(",") if name.strip()]
    return Allowed(all_columns, tuple(dict.fromkeys(named)))
