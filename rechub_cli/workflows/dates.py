"""Days in paths: ``{date}`` and ``{date-1}`` become 2026-11-22 and the day before."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta

from rechub_cli.errors import UsageError

_PLACE = re.compile(r"\{date(?:([+-]\d{1,5}))?\}")


def dated(path: str | None, day: str | None) -> str | None:
    """The path for ``day`` (YYYY-MM-DD), or for today in UTC.

    Raises:
        UsageError: there is no such day.
    """
    try:
        start = datetime.now(UTC).date() if day is None else date.fromisoformat(day)
        return path and _PLACE.sub(lambda found: f"{start + timedelta(days=int(found[1] or 0))}", path)
    except (ValueError, OverflowError) as error:
        raise UsageError(f"--date {day}: {error}; write YYYY-MM-DD") from error
