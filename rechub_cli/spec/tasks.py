"""One label among several: ``auc_click`` is the auc of click; which label tells the best weights."""

from __future__ import annotations

from collections.abc import Iterable

from rechub_cli.spec.model import Spec


def split_label(name: str, labels: Iterable[str]) -> tuple[str, str | None]:
    """``auc_click`` -> ``("auc", "click")``; a name that ends in no label stays whole."""
    ending = [label for label in labels if name.endswith(f"_{label}") and len(name) > len(label) + 1]
    label = max(ending, key=len, default=None)
    return (name, None) if label is None else (name[: -len(label) - 1], label)


def stop_label(spec: Spec) -> str | None:
    """The label that tells the best weights, ``trainer.earlystop_taskid``: the first one, or as the spec says."""
    at = spec.trainer.earlystop_taskid
    if isinstance(at, str):
        return at if at in spec.labels else None
    return next(iter(list(spec.labels)[max(at, 0) :]), None)
