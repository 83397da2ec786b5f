"""Names of a retrieval spec: mode, loss, negatives and ranking metrics. torch is not imported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rechub_cli import plugins
from rechub_cli.errors import SpecError
from rechub_cli.plugins.options import options
from rechub_cli.plugins.registry import split_k
from rechub_cli.spec.faults import of_name, of_options
from rechub_cli.spec.model import Spec
from rechub_cli.spec.problems import Problem

OWN_KEYS = ("mode", "negatives", "loss_params", "exclude_seen")
MODES: dict[Any, int] = {"pointwise": 0, "pairwise": 1, "listwise": 2, 0: 0, 1: 1, 2: 2}
LOSSES = ("bce", "bpr", "softmax")  # by mode


def is_retrieval(spec: Spec, base: Path) -> bool | None:
    """Whether the model is trained by train-match; None where there is no such model."""
    try:
        return plugins.class_literal("models", spec.model.name, "command", None, base) == "train-match"
    except SpecError:
        return None


def misplaced(spec: Spec) -> list[Problem]:
    """Keys that only a retrieval model has a use for."""
    return [
        Problem(("trainer", key), f"is for retrieval models: {spec.model.name} is none", at="key")
        for key in OWN_KEYS
        if getattr(spec.trainer, key) != type(spec.trainer).model_fields[key].default
    ]


def check_retrieval(spec: Spec, base: Path) -> list[Problem]:
    """Every name that stands for nothing, and every option that is wrong."""
    trainer, problems = spec.trainer, list[Problem]()
    for index, name in enumerate(trainer.metrics or ()):
        problems += _metric(name, ("trainer", "metrics", index), base)
    if isinstance(trainer.monitor, str):
        problems += _metric(trainer.monitor, ("trainer", "monitor"), base)
    elif trainer.monitor is not None:
        problems.append(Problem(("trainer", "monitor"), "of a retrieval model is one metric, such as ndcg@10"))
    return problems + _loss(spec, base) + _negatives(spec, base)


def _metric(name: str, path: tuple[str | int, ...], base: Path) -> list[Problem]:
    known = plugins.names("retrieval_metrics")
    try:
        plain, k = split_k(name)
        plugins.find("retrieval_metrics", plain, base)
    except SpecError as error:
        return [of_name(path, error, known, name.partition("@")[0])]
    if k is not None and "k" not in options("retrieval_metrics", plain, base):
        return [Problem(path, f"metric '{plain}' takes no @k: write '{plain}'")]
    return []


def _loss(spec: Spec, base: Path) -> list[Problem]:
    trainer, path = spec.trainer, ("trainer", "loss")
    mode = None if trainer.mode is None else MODES[trainer.mode]
    if isinstance(trainer.loss, dict):
        return [Problem(path, "of a retrieval model is one loss")]
    own = plugins.class_literal("models", spec.model.name, "mode", None, base)
    name = trainer.loss
    if name is None:
        usual = plugins.class_literal("models", spec.model.name, "loss", None, base)
        name = usual if usual and mode in (None, own) else LOSSES[mode if mode is not None else own or 0]
    try:
        of_loss = plugins.class_literal("retrieval_losses", name, "mode", None, base)
        _, faults = plugins.check_options("retrieval_losses", name, trainer.loss_params, base)
    except SpecError as error:
        return [of_name(path, error, plugins.names("retrieval_losses"), name)]
    problems = of_options(("trainer", "loss_params"), path, trainer.loss_params, faults)
    if trainer.loss is not None and None not in (mode, of_loss) and mode != of_loss:
        problems.append(Problem(path, f"'{name}' is of mode {of_loss}, not of mode {mode}: leave one of them out"))
    return problems


def _negatives(spec: Spec, base: Path) -> list[Problem]:
    wanted, path = spec.trainer.negatives, ("trainer", "negatives")
    given = {} if wanted is None or isinstance(wanted, str) else {k: v for k, v in wanted.items() if k != "name"}
    place: tuple[str, ...] = path
    if isinstance(wanted, dict):
        if not isinstance(wanted.get("name"), str):
            return [Problem(path, "needs 'name:', one of " + ", ".join(plugins.names("samplers")), at="key")]
        place = (*path, "name")
    name = wanted if isinstance(wanted, str) else wanted["name"] if wanted else None
    if name is None:
        return []
    try:
        _, faults = plugins.check_options("samplers", name, given, base)
    except SpecError as error:
        return [of_name(place, error, plugins.names("samplers"), name)]
    problems = of_options(path, place, given, faults)
    for option in ("n", "hard"):
        if type(value := given.get(option)) is int and value < 1:
            problems.append(Problem((*path, option), f"must be at least 1, not {value}"))
    there = [key for key, feature in spec.features.items() if getattr(feature, "role", "") == "negatives"]
    if name.lower() == "given" and not there:
        problems.append(Problem(place, "'given' takes a sequence with 'role: negatives', and the features have none"))
    elif name.lower() == "given" and given.get("feature", there[0] if len(there) == 1 else None) not in there:
        at = (*path, "feature") if "feature" in given else place
        problems.append(Problem(at, f"say 'feature:', one of {', '.join(there)}"))
    return problems
