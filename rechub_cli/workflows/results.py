"""Measured metrics, as events tell of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from rechub_cli.run.events import Events


def tell_metrics(events: Events, prefix: str, metrics: Mapping[str, float], data: Mapping[str, Any]) -> None:
    """Say what came out, and warn of what these rows do not define."""
    said = " ".join(f"{name} {value:.4f}" for name, value in metrics.items())
    events.emit("eval.result", f"{prefix}  {said}".strip(), {**data, **metrics})
    undefined = [name for name, value in metrics.items() if math.isnan(value)]
    if undefined:
        why = "every metric needs rows that have a label, and those of an order, such as auc, labels of both kinds"
        text = f"not defined on these rows: {', '.join(undefined)}; {why}"
        events.emit("warning", text, {**data, "undefined": undefined}, level="warn")
