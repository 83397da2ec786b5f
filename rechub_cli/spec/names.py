"""Names in a spec that stand for code: the model, its options, metrics, the loss, the optimizer, the scheduler."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rechub_cli import plugins
from rechub_cli.errors import SpecError
from rechub_cli.plugins.options import check_values, options_of
from rechub_cli.plugins.registry import Plugin
from rechub_cli.spec.faults import of_name, of_options
from rechub_cli.spec.model import Spec
from rechub_cli.spec.problems import Problem
from rechub_cli.spec.retrieval import check_retrieval, is_retrieval, misplaced
from rechub_cli.spec.tasks import split_label, stop_label

# Class -> module: torch's optimizers whose step needs no closure, for dense gradients.
OPTIMIZERS = {
    "Adadelta": "adadelta",
    "Adafactor": "_adafactor",
    "Adagrad": "adagrad",
    "Adam": "adam",
    "Adamax": "adamax",
    "AdamW": "adamw",
    "ASGD": "asgd",
    "NAdam": "nadam",
    "RAdam": "radam",
    "RMSprop": "rmsprop",
    "Rprop": "rprop",
    "SGD": "sgd",
}
# torch's schedulers whose options YAML can say.
SCHEDULERS = (
    "ConstantLR",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "CyclicLR",
    "ExponentialLR",
    "LinearLR",
    "MultiStepLR",
    "OneCycleLR",
    "PolynomialLR",
    "ReduceLROnPlateau",
    "StepLR",
)
_DEVICE = re.compile(r"auto|cpu|mps|cuda(:[0-9]{1,3})?")
FILLED_IN = {"total_steps", "epochs", "steps_per_epoch", "mode"}  # the trainer knows these


def check_names(spec: Spec, base: Path) -> tuple[dict[str, Any], list[Problem]]:
    """The model's options in their types, and every name that stands for nothing; torch is not imported."""
    problems: list[Problem] = []
    params = _model(spec, base, problems)
    retrieval = is_retrieval(spec, base)
    if retrieval:
        problems += check_retrieval(spec, base)
    else:
        problems += misplaced(spec) if retrieval is not None else []
        _labels(spec, base, problems)
    if not _DEVICE.fullmatch(spec.trainer.device):
        text = f"unknown device '{spec.trainer.device}'; it can be auto, cpu, cuda, cuda:0 (or another number), mps"
        problems.append(Problem(("trainer", "device"), text))
    _optimizer(spec, problems)
    _scheduler(spec, problems)
    return params, problems


def _labels(spec: Spec, base: Path, problems: list[Problem]) -> None:
    """Names that models of labels have: metrics, losses, weightings."""
    tasks: set[str] = {label.type for label in spec.labels.values()} or {"classification"}
    for index, name in enumerate(spec.trainer.metrics or ()):
        _metric(name, ("trainer", "metrics", index), spec, tasks, base, problems)
    _monitor(spec, tasks, base, problems)
    _losses(spec, base, problems)
    _weighting(spec, problems)
    _check_stop_label(spec, problems)


def _model(spec: Spec, base: Path, problems: list[Problem]) -> dict[str, Any]:
    name = spec.model.name
    try:
        checked, faults = plugins.check_options("models", name, spec.model.params, base)
    except SpecError as error:
        problems.append(of_name(("model", "name"), error, plugins.names("models"), name))
        return dict(spec.model.params)
    note = f"see all options: rechub models show {name}"
    problems += of_options(("model", "params"), ("model", "name"), spec.model.params, faults, note)
    return checked


def _metric(
    name: str, path: tuple[str | int, ...], spec: Spec, tasks: set[str], base: Path, problems: list[Problem]
) -> None:
    try:
        info = plugins.metric_info(name, base)
    except SpecError as error:
        problems.append(of_name(path, error, plugins.names("metrics"), name))
        return
    if info.needs_group and spec.group is None:
        problems.append(Problem(path, f"'{name}' is computed within groups; name their column with 'group:'"))
    if not tasks & set(info.tasks):
        problems.append(Problem(path, f"'{name}' is for {' and '.join(info.tasks)} labels, not {' and '.join(tasks)}"))


def _monitor(spec: Spec, tasks: set[str], base: Path, problems: list[Problem]) -> None:
    """A metric; of several labels also ``<metric>_<label>``, or a weighted sum of such."""
    path, monitor = ("trainer", "monitor"), spec.trainer.monitor
    if isinstance(monitor, str):
        _labelled(monitor, path, spec, tasks, base, problems)
    elif monitor is not None:
        if not monitor:
            problems.append(Problem(path, "a weighted sum needs at least one metric"))
        for name, weight in monitor.items():
            _labelled(name, (*path, name), spec, tasks, base, problems)
            if weight == 0:
                problems.append(Problem((*path, name), "must be a weight other than 0"))


def _labelled(
    name: str, path: tuple[str | int, ...], spec: Spec, tasks: set[str], base: Path, problems: list[Problem]
) -> None:
    metric, label = split_label(name, spec.labels)
    if label is None and len(spec.labels) > 1 and ":" not in name:
        begin = name.rpartition("_")[0]
        if begin and begin in plugins.names("metrics"):
            known = [f"{begin}_{one}" for one in spec.labels]
            problems.append(_unknown(path, "label in", name, tuple(known)))
            return
    label = label or (stop_label(spec) if len(spec.labels) > 1 else None)
    _metric(metric, path, spec, tasks if label is None else {spec.labels[label].type}, base, problems)


def _losses(spec: Spec, base: Path, problems: list[Problem]) -> None:
    """One loss for all labels, or ``{label: loss}``."""
    wanted = spec.trainer.loss
    if wanted is None:
        return
    path = ("trainer", "loss")
    for label, name in wanted.items() if isinstance(wanted, dict) else [("", wanted)]:
        place = (*path, label) if label else path
        if label and label not in spec.labels:
            problems.append(_unknown(place, "label", label, tuple(spec.labels)))
        try:
            plugins.find("losses", name, base)
        except SpecError as error:
            problems.append(of_name(place, error, plugins.names("losses"), name))


def _weighting(spec: Spec, problems: list[Problem]) -> None:
    params = spec.trainer.adaptive_params
    path = ("trainer", "adaptive_params")
    if not params:
        return
    known = plugins.names("weightings")
    name = params.get("method")
    if not isinstance(name, str):
        problems.append(Problem(path, f"needs 'method:', one of {', '.join(known)}", at="key"))
        return
    try:
        given = {option: value for option, value in params.items() if option != "method"}
        _, faults = plugins.check_options("weightings", name, given)
    except SpecError as error:
        problems.append(of_name((*path, "method"), error, known, name))
        return
    problems += of_options(path, (*path, "method"), given, faults)


def _check_stop_label(spec: Spec, problems: list[Problem]) -> None:
    wanted, labels = spec.trainer.earlystop_taskid, list(spec.labels)
    path = ("trainer", "earlystop_taskid")
    if isinstance(wanted, str) and wanted not in labels:
        problems.append(_unknown(path, "label", wanted, tuple(labels)))
    elif isinstance(wanted, int) and not 0 <= wanted < max(len(labels), 1):
        text = f"there is no label {wanted}: give a name, or a place from 0 to {len(labels) - 1}"
        problems.append(Problem(path, text))


def _optimizer(spec: Spec, problems: list[Problem]) -> None:
    trainer = spec.trainer
    path = ("trainer", "optimizer")
    name = _exact(trainer.optimizer, OPTIMIZERS)
    if name is None:
        problems.append(_unknown(path, "optimizer", trainer.optimizer, OPTIMIZERS))
        return
    params = trainer.optimizer_params
    _torch(f"torch.optim.{OPTIMIZERS[name]}", name, params, ("trainer", "optimizer_params"), "optimizer", problems)
    lr = params.get("lr", 1.0)
    if isinstance(lr, int | float) and not isinstance(lr, bool) and lr <= 0:
        problems.append(Problem(("trainer", "optimizer_params", "lr"), f"must be above 0, not {lr!r}"))


def _scheduler(spec: Spec, problems: list[Problem]) -> None:
    trainer = spec.trainer
    if trainer.scheduler is None:
        if trainer.scheduler_params:
            problems.append(
                Problem(("trainer", "scheduler_params"), "there is no 'scheduler:' to take these", at="key")
            )
        return
    name = _exact(trainer.scheduler, SCHEDULERS)
    if name is None:
        problems.append(_unknown(("trainer", "scheduler"), "scheduler", trainer.scheduler, SCHEDULERS))
        return
    params = {key: value for key, value in trainer.scheduler_params.items() if key != "step"}
    _torch("torch.optim.lr_scheduler", name, params, ("trainer", "scheduler_params"), "scheduler", problems)
    step = trainer.scheduler_params.get("step", "epoch")
    if step not in ("epoch", "batch"):
        problems.append(Problem(("trainer", "scheduler_params", "step"), f"{step!r} is not one of epoch, batch"))


def _torch(
    module: str, name: str, params: Mapping[str, Any], path: tuple[str, ...], what: str, problems: list[Problem]
) -> None:
    """Check options against the source of a class of torch, which is not imported for that."""
    known = options_of(Plugin("models", name, module, name))
    _, faults = check_values(known, params, f"{what} '{name}'")
    faults = [fault for fault in faults if not FILLED_IN & set(fault.path)]
    problems += of_options(path, ("trainer", what), params, faults)


def _exact(name: str, known: Mapping[str, str] | tuple[str, ...]) -> str | None:
    return next((one for one in known if one.lower() == name.lower()), None)


def _unknown(path: tuple[str | int, ...], what: str, name: str, known: Mapping[str, str] | tuple[str, ...]) -> Problem:
    lower = {one.lower(): one for one in known}
    guess = difflib.get_close_matches(name.lower(), lower, 1, 0.5)
    text = f"unknown {what} '{name}' (known: {', '.join(known)})"
    return Problem(path, text, lower[guess[0]] if guess else None)
