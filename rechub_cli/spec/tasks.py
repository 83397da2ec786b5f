"""Names that stand for one label among several: ``auc_click`` is the auc of click."""

from __future__ import annotations

from collections.abc import Iterable


def split_label(name: str, labels: Iterable[str]) -> tuple[str, str | None]:
    """``auc_click`` -> ``("auc", "click")``; a name that ends in no label stays whole."""
    ending = [label for label in labels if name.endswith(f"_{label}") and len(name) > len(label) + 1]
    label = max(ending, key=len, default=None)
    return (name, None) if label is None else (name[: -len(label) - 1], label)
