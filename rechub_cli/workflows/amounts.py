"""Ages and sizes, as people write and read them."""

from __future__ import annotations

import re
from datetime import timedelta

from rechub_cli.errors import UsageError

_SPANS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
_SIZES = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


def parse_age(flag: str, text: str) -> timedelta:
    """``30d``, ``12h``, ``90m``, ``2w``. Raises UsageError."""
    found = re.fullmatch(r"(\d{1,6}(?:\.\d+)?)\s*([mhdw])", text.strip().lower(), re.ASCII)
    if not found:
        raise UsageError(f"{flag} is {text!r}; write 30d, 12h, 90m or 2w")
    return float(found[1]) * _SPANS[found[2]]


def parse_size(flag: str, text: str) -> int:
    """``20GB``, ``500M``, bytes without a unit. Raises UsageError."""
    found = re.fullmatch(r"(\d{1,15}(?:\.\d+)?)\s*([KMGT]?)B?", text.strip().upper(), re.ASCII)
    if not found:
        raise UsageError(f"{flag} is {text!r}; write 20GB or 500MB")
    return int(float(found[1]) * _SIZES[found[2]])


def size_text(size: float) -> str:
    """``12.3 MB``"""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.5 or unit == "GB":
            break
        size /= 1000
    return f"{size:,.0f} {unit}" if unit == "B" else f"{size:,.1f} {unit}"


def age_text(seconds: float) -> str:
    """``3d``, ``5h``, ``12m``"""
    for unit in ("w", "d", "h", "m"):
        whole = int(seconds // _SPANS[unit].total_seconds())
        if whole >= (9 if unit == "w" else 1):
            return f"{whole}{unit}"
    return "now"
