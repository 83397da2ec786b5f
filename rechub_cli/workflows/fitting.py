"""A spec's model and its trainer, made from what the encoder found."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rechub_cli import plugins
from rechub_cli.errors import RechubError, RunFailed, Unavailable
from rechub_cli.spec.tasks import split_label, stop_label

if TYPE_CHECKING:
    from torch import nn

    from rechub_cli.run import Checkpoints, Run, RunWatcher
    from rechub_cli.schema import Schema
    from rechub_cli.spec.model import Spec
    from rechub_cli.trainers.ctr import CTRTrainer
    from rechub_cli.trainers.mtl import MTLTrainer


def build_model(spec: Spec, schema: Schema, base: Path) -> nn.Module:
    """The spec's model over the encoder's schema.

    Raises:
        SpecError: the model refuses these options or these features.
        Unavailable: its plugin cannot be imported or made.
        RunFailed: it is too large.
    """
    made = plugins.load("models", spec.model.name, base)
    try:
        return made(schema, **spec.model.params)
    except RechubError:
        raise
    except (RuntimeError, MemoryError, OverflowError) as error:  # what torch says of sizes it cannot have
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise RunFailed(
            f"model {spec.model.name} cannot be made: {said}; are embed_dim, hidden_dims or the vocabularies too large?"
        ) from error
    except (ValueError, TypeError, KeyError) as error:
        if spec.model.name.lower() in plugins.names("models") and "rechub_cli" in made.__module__:
            raise
        raise Unavailable(f"model {spec.model.name} cannot be made: {type(error).__name__}: {error}") from error


@contextlib.contextmanager
def blaming_foreign(model: nn.Module, spec: Spec, doing: str = "training") -> Iterator[None]:
    """A fault inside code that is not ours is told as that code's. Raises RunFailed."""
    try:
        yield
    except (RechubError, OSError):
        raise
    except Exception as error:
        ours = type(model).__module__.startswith("rechub_cli.")
        names = [*([] if ours else [f"model {spec.model.name}"]), *named_in_place(spec)]
        if not names:
            raise
        raise RunFailed(f"{' or '.join(names)} failed in {doing}: {type(error).__name__}: {error}") from error


def named_in_place(spec: Spec) -> list[str]:
    """The code, besides the model's, that the spec names by its place: losses and metrics."""
    loss, metrics = spec.trainer.loss, metrics_of(spec)
    losses = list(loss.values()) if isinstance(loss, dict) else [loss] if loss else []
    return [name for name in dict.fromkeys([*losses, *metrics]) if ":" in name]


def check_device(spec: Spec) -> None:
    """Before hours of reading: is the device that the spec names there?

    Raises:
        Unavailable: it is not.
    """
    if spec.trainer.device in ("auto", "cpu") and not spec.trainer.gpus:
        return
    from rechub_cli.trainers import runtime

    runtime.find_device(spec.trainer.device, list(spec.trainer.gpus))


def ctr_trainer(
    spec: Spec, schema: Schema, model: nn.Module, base: Path, watcher: RunWatcher, checkpoints: Checkpoints | None
) -> CTRTrainer:
    """The trainer that the spec describes.

    Raises:
        SpecError: an optimizer, a scheduler or a metric does not fit.
        Unavailable: the device is not there.
    """
    from rechub_cli.trainers.ctr import CTRTrainer

    return CTRTrainer(
        model,
        loss=losses_of(spec, base),
        **trainer_options(spec, watcher, checkpoints),
        monitor=load_named([str(monitor_of(spec))], base)[0],
        metrics=load_named(metrics_of(spec), base),
        tasks=schema.tasks,
    )


def trainer_options(spec: Spec, watcher: RunWatcher, checkpoints: Checkpoints | None) -> dict[str, Any]:
    """What all trainers take alike.

    Raises:
        SpecError: there is no such optimizer or scheduler.
    """
    from rechub_cli.optim.names import optimizer, scheduler

    wanted = spec.trainer
    return {
        "optimizer_fn": optimizer(wanted.optimizer),
        "optimizer_params": dict(wanted.optimizer_params),
        "regularization_params": {str(name): value for name, value in wanted.regularization_params.items()},
        "scheduler_fn": scheduler(wanted.scheduler) if wanted.scheduler else None,
        "scheduler_params": dict(wanted.scheduler_params),
        "n_epoch": wanted.n_epoch,
        "earlystop_patience": wanted.earlystop_patience,
        "device": wanted.device,
        "gpus": list(wanted.gpus),
        "embedding_optimizer": wanted.embedding_optimizer.model_dump(),
        "clip_norm": wanted.clip_norm,
        "precision": wanted.precision,
        "eval_every_steps": wanted.eval_every_steps,
        "seed": wanted.seed,
        "watcher": watcher,
        "checkpoints": checkpoints,
    }


def make_checkpoints(spec: Spec, run: Run) -> Checkpoints:
    """Those of the run, as often as the spec wants."""
    from rechub_cli.run import Checkpoints

    wanted = spec.trainer
    steps, minutes = wanted.checkpoint_every_steps, wanted.checkpoint_every_minutes
    return Checkpoints(run.path, every_steps=steps, every_minutes=minutes)


def make_trainer(command: str, *parts: Any) -> Any:
    """The trainer of ``train-ctr`` or ``train-mtl``; the arguments are those of ``ctr_trainer``."""
    return mtl_trainer(*parts) if command == "train-mtl" else ctr_trainer(*parts)


def monitor_of(spec: Spec) -> str | dict[str, float]:
    """The metric that tells the best weights: the spec's, else auc, or rmse where the label is a number.

    Of several labels it is ``<metric>_<label>``, or a weighted sum of such.
    """
    monitor, label = spec.trainer.monitor, stop_label(spec)
    if isinstance(monitor, dict):
        return monitor
    if monitor is None:
        monitor = "rmse" if label and spec.labels[label].type == "regression" else "auc"
    alone = len(spec.labels) > 1 and split_label(monitor, spec.labels)[1] is None
    return f"{monitor}_{label}" if alone else monitor


def metrics_of(spec: Spec) -> list[str]:
    """The metrics to report, without labels: the monitor's, then the spec's, else the usual ones."""
    types = {label.type for label in spec.labels.values()}
    usual = ["auc", "gauc", "logloss"] if "classification" in types or not types else []
    usual += ["rmse", "mae"] if "regression" in types else []
    if not spec.group and "gauc" in usual:
        usual.remove("gauc")
    chosen = usual if spec.trainer.metrics is None else spec.trainer.metrics
    return list(dict.fromkeys([*monitored(spec), *chosen]))


def monitored(spec: Spec) -> list[str]:
    """The metrics that the monitor needs, without labels."""
    monitor = monitor_of(spec)
    names = [monitor] if isinstance(monitor, str) else list(monitor)
    return [split_label(name, spec.labels)[0] if len(spec.labels) > 1 else name for name in names]


def losses_of(spec: Spec, base: Path) -> Any:
    """The spec's loss, or losses by label; those that are named in place are loaded."""

    def loaded(name: str) -> Any:
        return plugins.load("losses", name, base) if ":" in name else name

    wanted = spec.trainer.loss
    if isinstance(wanted, dict):
        return {label: loaded(name) for label, name in wanted.items()}
    return None if wanted is None else loaded(wanted)


def load_named(names: Sequence[str], base: Path) -> list[Any]:
    """Metrics that are named in place, as ``./file.py:Class`` beside ``base``, are loaded; names stay names."""
    return [plugins.load_metric(name, base) if ":" in name else name for name in names]


def is_regression(spec: Spec) -> bool:
    return all(label.type == "regression" for label in spec.labels.values())


def mtl_trainer(
    spec: Spec, schema: Schema, model: nn.Module, base: Path, watcher: RunWatcher, checkpoints: Checkpoints | None
) -> MTLTrainer:
    """The trainer that the spec of several labels describes.

    Raises:
        SpecError: an optimizer, a scheduler, a metric or a weighting does not fit.
        Unavailable: the device is not there.
    """
    from rechub_cli.trainers.mtl import MTLTrainer

    return MTLTrainer(
        model,
        [task.type for task in schema.tasks],
        adaptive_params=dict(spec.trainer.adaptive_params) or None,
        earlystop_taskid=stop_label(spec) or 0,
        loss=losses_of(spec, base),
        **trainer_options(spec, watcher, checkpoints),
        monitor=spec.trainer.monitor,
        metrics=load_named(metrics_of(spec), base),
        tasks=schema.tasks,
    )


def describe_features(schema: Schema) -> dict[str, Any]:
    """How many features of each kind, for ``data.ready``."""
    return {"sparse": len(schema.sparse), "dense": len(schema.dense), "sequence": len(schema.sequences)}
