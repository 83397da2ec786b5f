"""How long before a row its history ends: ``1h``, ``30m``, ``2d``."""

from __future__ import annotations

import math
import re

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_LAG = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw]?)")


def parse_lag(text: str) -> tuple[float, bool]:
    """The lag in seconds (and True), or in the unit of a time column of plain numbers (and False).

    Raises:
        ValueError: the text is neither.
    """
    found = _LAG.fullmatch(text.strip())
    if found is None or not math.isfinite(float(found[1])):
        raise ValueError(f"{text!r} is no lag; write a number and s, m, h, d or w, as in 30m, 1h or 2d")
    return float(found[1]) * _SECONDS.get(found[2], 1), bool(found[2])
