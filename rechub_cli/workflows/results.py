"""What a training has, is and came to, as events tell of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rechub_cli.run.events import Events
from rechub_cli.run.table import clock
from rechub_cli.workflows import fitting
from rechub_cli.workflows.request import TrainRequest

if TYPE_CHECKING:
    from torch import nn

    from rechub_cli.spec.model import Spec


def tell_metrics(events: Events, prefix: str, metrics: Mapping[str, float], data: Mapping[str, Any]) -> None:
    """Say what came out, and warn of what these rows do not define."""
    said = " ".join(f"{name} {value:.4f}" for name, value in metrics.items())
    events.emit("eval.result", f"{prefix}  {said}".strip(), {**data, **metrics})
    undefined = [name for name, value in metrics.items() if math.isnan(value)]
    if undefined:
        why = "every metric needs rows that have a label, and those of an order, such as auc, labels of both kinds"
        text = f"not defined on these rows: {', '.join(undefined)}; {why}"
        events.emit("warning", text, {**data, "undefined": undefined}, level="warn")


def warn_no_validation(events: Events) -> None:
    text = "no validation rows: the last epoch's weights are kept, and nothing stops early"
    events.emit("warning", text, level="warn")


def describe_spec(request: TrainRequest, spec: Spec) -> str:
    given = len(request.overrides) + len(request.sugar())
    plus = f" + {given} override{'s' * (given != 1)}" if given else ""
    return f"{Path(request.spec).name}{plus}, {spec.model.name}"


def describe_model(model: nn.Module, trainer: Any, events: Events) -> None:
    count = sum(parameter.numel() for parameter in model.parameters())
    short = f"{count / 1e6:.2f} M" if count >= 1e6 else f"{count:,}"
    text = f"{type(model).__name__}, {short} parameters, device {trainer.device}"
    events.emit("model.ready", text, {"parameters": count, "device": str(trainer.device)})


def best_of(best: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in best.items() if name in ("epoch", "step") or name.startswith("val_")}


def describe_best(spec: Spec, best: dict[str, Any], seconds: float) -> str:
    monitor = fitting.monitor_of(spec)
    name = f"val_{monitor}" if isinstance(monitor, str) else "val_monitor"
    value = f", {name} {best[name]:.4f}" if best.get(name) is not None else ""
    return f"epoch {best.get('epoch')}{value}   total {clock(seconds)}"
