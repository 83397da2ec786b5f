"""Days in paths: ``{date}`` becomes 2026-11-22, ``{date-1}`` the day before, ``{date-14..date-2}`` all those days."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

from rechub_cli.errors import UsageError

if TYPE_CHECKING:
    from rechub_cli.spec.model import Spec
    from rechub_cli.spec.read import ReadSpec

_PLACE = re.compile(r"\{date([+-]\d{1,5})?(?:(\.\.)date([+-]\d{1,5})?)?\}")


def day_of(given: str | None) -> date:
    """``--date``, or today in UTC. Raises UsageError where there is no such day."""
    try:
        return datetime.now(UTC).date() if given is None else date.fromisoformat(given)
    except ValueError as error:
        raise UsageError(f"--date {given}: {error}; write YYYY-MM-DD") from error


def dated(path: str | None, day: str | None, *, one: bool = False) -> str | None:
    """The path for ``day`` (YYYY-MM-DD), or for today in UTC; of a window of days, ``{2026-11-08,2026-11-09}``.

    Args:
        one: the path is a single one, so a window makes no sense.

    Raises:
        UsageError: there is no such day, or a window is wrong.
    """
    start = day_of(day)

    def days(found: re.Match[str]) -> str:
        first = start + timedelta(days=int(found[1] or 0))
        if not found[2]:
            return str(first)
        last = start + timedelta(days=int(found[3] or 0))
        if one:
            raise UsageError(f"{path}: {found[0]} is several days, and this is one path")
        if last < first:
            raise UsageError(f"{path}: {found[0]} ends before it starts; write the earlier day first")
        several = [str(first + timedelta(days=n)) for n in range((last - first).days + 1)]
        return several[0] if len(several) == 1 else "{" + ",".join(several) + "}"

    try:
        return path and _PLACE.sub(days, path)
    except OverflowError as error:
        raise UsageError(f"{path}: {error}, seen from {start}") from error


def dated_spec(spec: Spec, day: str | None) -> Spec:
    """The spec with the days of its data paths filled in. Raises UsageError as ``dated``."""
    data = spec.data
    parts = {
        part: [str(dated(path, day)) for path in paths]
        for part in ("train", "valid", "test", "items")
        if (paths := getattr(data, part))
    }
    joins = [join.model_copy(update={"file": dated(join.file, day, one=True)}) for join in data.join]
    return spec.model_copy(update={"data": data.model_copy(update={**parts, "join": joins})})


def dated_read(read: ReadSpec, day: str | None) -> ReadSpec:
    """The same for a spec as it was read."""
    return replace(read, spec=dated_spec(read.spec, day))
