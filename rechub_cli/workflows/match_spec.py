"""What a retrieval spec means beyond its form: which features are the item's, which the model can use."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rechub_cli import plugins
from rechub_cli.run.events import Events
from rechub_cli.spec.model import Spec

if TYPE_CHECKING:
    from rechub_cli.workflows.sources import Sources

METRICS = ("ndcg@10", "recall@10", "recall@50")  # where the spec names none; the first is the monitor
MODES = {"pointwise": 0, "pairwise": 1, "listwise": 2}


def is_sequential(spec: Spec, base: Path) -> bool:
    """Whether the model learns all the prefixes of a user's history in one pass."""
    return bool(plugins.class_literal("models", spec.model.name, "sequential", False, base))


def is_counting(spec: Spec, base: Path) -> bool:
    """Whether the model counts who had what, and learns nothing by gradients."""
    return bool(plugins.class_literal("models", spec.model.name, "counting", False, base))


def mode_of(spec: Spec, base: Path) -> int:
    """0 point-wise, 1 pair-wise, 2 list-wise: the spec's, else its loss's, else the model's own."""
    mode = spec.trainer.mode
    if mode is None and isinstance(spec.trainer.loss, str):
        mode = plugins.class_literal("retrieval_losses", spec.trainer.loss, "mode", None, base)
    if mode is None:
        mode = plugins.class_literal("models", spec.model.name, "mode", 2, base)
    return mode if isinstance(mode, int) else MODES[mode]


def metrics_of(spec: Spec) -> list[str]:
    """The retrieval metrics to report, the monitor first."""
    wanted = spec.trainer
    monitor = wanted.monitor if isinstance(wanted.monitor, str) else METRICS[0]
    return list(dict.fromkeys([monitor, *(METRICS if wanted.metrics is None else wanted.metrics)]))


def settle(spec: Spec, sources: Sources, base: Path, events: Events) -> Spec:
    """The spec with every feature in its tower.

    What the id of the item is read from, and what only the table of items has, is the item's; a feature without a
    tower is otherwise the user's. A model of sequences is given histories alone: the rest of the user is not read.
    """
    from rechub_cli.spec.model import History, Sequence

    log = set(sources.log_columns)
    features = {}
    for name, feature in spec.features.items():
        column = feature.column or name
        the_items = column == spec.item and feature.type == "sparse"
        if feature.tower is None and not isinstance(feature, History) and (the_items or column not in log):
            feature = feature.model_copy(update={"tower": "item"})
        features[name] = feature
    if is_sequential(spec, base) or is_counting(spec, base):
        used = {
            name
            for name, feature in features.items()
            if feature.tower == "item" or isinstance(feature, History | Sequence)
        }
        left_out = [name for name in features if name not in used]
        if left_out:
            text = f"{spec.model.name} learns from what users had alone; not used: {', '.join(left_out)}"
            events.emit("data.warning", text, {"unused": left_out}, level="warn")
        features = {name: feature for name, feature in features.items() if name in used}
    return spec.model_copy(update={"features": features})
