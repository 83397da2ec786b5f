"""A spec's model and its trainer, made from what the encoder found."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rechub_cli import plugins
from rechub_cli.errors import RechubError, RunFailed, Unavailable

if TYPE_CHECKING:
    from torch import nn

    from rechub_cli.run import Checkpoints, RunWatcher
    from rechub_cli.schema import Schema
    from rechub_cli.spec.model import Spec
    from rechub_cli.spec.read import ReadSpec
    from rechub_cli.trainers.ctr import CTRTrainer


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
def blaming_foreign(model: nn.Module, name: str, doing: str = "training") -> Iterator[None]:
    """A fault inside a model that is not ours is told as that model's. Raises RunFailed."""
    try:
        yield
    except (RechubError, OSError):
        raise
    except Exception as error:
        if type(model).__module__.startswith("rechub_cli."):
            raise
        raise RunFailed(f"model {name} failed in {doing}: {type(error).__name__}: {error}") from error


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
    from rechub_cli.optim.names import optimizer, scheduler
    from rechub_cli.trainers.ctr import CTRTrainer

    wanted = spec.trainer
    return CTRTrainer(
        model,
        optimizer_fn=optimizer(wanted.optimizer),
        optimizer_params=dict(wanted.optimizer_params),
        regularization_params={str(name): value for name, value in wanted.regularization_params.items()},
        scheduler_fn=scheduler(wanted.scheduler) if wanted.scheduler else None,
        scheduler_params=dict(wanted.scheduler_params),
        n_epoch=wanted.n_epoch,
        earlystop_patience=wanted.earlystop_patience,
        device=wanted.device,
        gpus=list(wanted.gpus),
        embedding_optimizer=wanted.embedding_optimizer.model_dump(),
        loss=plugins.load("losses", wanted.loss, base) if wanted.loss and ":" in wanted.loss else wanted.loss,
        monitor=load_named([monitor_of(spec)], base)[0],
        metrics=load_named(metrics_of(spec), base),
        clip_norm=wanted.clip_norm,
        precision=wanted.precision,
        eval_every_steps=wanted.eval_every_steps,
        seed=wanted.seed,
        watcher=watcher,
        checkpoints=checkpoints,
        tasks=schema.tasks,
    )


def monitor_of(spec: Spec) -> str:
    """The metric that tells the best weights: the spec's, else auc, or rmse where the label is a number."""
    return spec.trainer.monitor or ("rmse" if is_regression(spec) else "auc")


def metrics_of(spec: Spec) -> list[str]:
    """The metrics to report: the monitor, then the spec's, else the usual ones."""
    usual = ["rmse", "mae"] if is_regression(spec) else ["auc", "logloss"]
    if spec.group and not is_regression(spec):
        usual.insert(1, "gauc")
    chosen = usual if spec.trainer.metrics is None else spec.trainer.metrics
    return list(dict.fromkeys([monitor_of(spec), *chosen]))


def load_named(names: Sequence[str], base: Path) -> list[Any]:
    """Metrics that are named in place, as ``./file.py:Class`` beside ``base``, are loaded; names stay names."""
    return [plugins.load_metric(name, base) if ":" in name else name for name in names]


def is_regression(spec: Spec) -> bool:
    return all(label.type == "regression" for label in spec.labels.values())


def check_ctr(read: ReadSpec) -> None:
    """What train-ctr needs of a spec beyond its form.

    Raises:
        SpecError: no label, several, or features that another command is for.
    """
    spec, problems = read.spec, []
    if len(spec.labels) != 1:
        have = f"has {len(spec.labels)}: {', '.join(spec.labels)}" if spec.labels else "has none"
        problems.append(("labels", f"train-ctr needs exactly one label, and the spec {have}"))
    for name, feature in spec.features.items():
        if feature.type == "history":
            problems.append((f"features.{name}", "train-ctr does not build histories yet; use a sequence column"))
    if not spec.data.train:
        problems.append(("data.train", "is missing: name the files to train on, or use --train PATH"))
    if problems:
        read.fail(problems)


def describe_features(schema: Schema) -> dict[str, Any]:
    """How many features of each kind, for ``data.ready``."""
    return {"sparse": len(schema.sparse), "dense": len(schema.dense), "sequence": len(schema.sequences)}
