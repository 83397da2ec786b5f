"""Whether what one run learnt can go on in another: every difference that stands against it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rechub_cli.data.plan import Plan
from rechub_cli.schema import Feature, Schema
from rechub_cli.spec.model import AnyFeature, Spec
from rechub_cli.spec.problems import Problem, listed
from rechub_cli.workflows import fitting

if TYPE_CHECKING:
    from rechub_cli.data.encoder import Encoder

# The options of a feature that may change: what they change is no weight's meaning, or is learnt again at once.
FREE = {
    "sparse": {"min_count", "max_vocab", "expire", "id_dropout"},
    "sequence": {"min_count", "max_vocab", "expire", "max_len", "separator"},
    "dense": {"statistics"},
    "datetime": {"unit"},
    "history": {"where", "lag", "max_len", "windows"},
    "vector": set[str](),
}


@dataclass(slots=True)
class Differences:
    """What stands against going on.

    Attributes:
        never: problems that no flag lifts.
        fresh: problems that end where things start fresh.
        features: those whose rows and statistics would start fresh.
        layers: weights that would, by their keys in a state dict.
    """

    never: list[Problem] = field(default_factory=list)
    fresh: list[Problem] = field(default_factory=list)
    features: set[str] = field(default_factory=set)
    layers: set[str] = field(default_factory=set)


def compare_features(before: Plan, now: Plan, run: str, found: Differences) -> None:
    """Add what differs between the features of two runs."""
    for name, old in before.features.items():
        if name not in now.features:
            found.fresh.append(Problem(("features",), f"'{name}', which {run} learnt from, is not here", at="key"))
            found.features.add(name)
            continue
        for option, was, wanted in _changes(before, now, name, old):
            problem = Problem(("features", name, option), f"is {wanted}, and {was} in {run}")
            if old.type == now.features[name].type == "dense" and option == "transform":
                found.never.append(Problem(problem.path, f"{problem.text}: give the feature another name"))
            else:
                found.fresh.append(problem)
                found.features.add(name)
    for name in now.features:
        if name not in before.features:
            found.fresh.append(Problem(("features", name), f"is not in {run}", at="key"))
    shared = {name for name in before.features if getattr(before.features[name], "shares", None)}
    found.features |= {name for name in shared if before.owner(name) in found.features}


def _changes(before: Plan, now: Plan, name: str, old: AnyFeature) -> list[tuple[str, str, str]]:
    """The options of a feature that may not change and did: (option, was, is)."""
    new = now.features[name]
    if old.type != new.type:
        return [("type", old.type, new.type)]
    found = []
    for option in type(old).model_fields:
        if option in FREE[old.type] | {"column", "embed_dim"}:
            continue
        was, wanted = getattr(old, option), getattr(new, option)
        if was != wanted:
            found.append((option, _shown(was), _shown(wanted)))
    has_rows = getattr(old, "shares", None) is None and getattr(old, "embedding", "") != "none"
    if has_rows and hasattr(old, "embed_dim") and before.embed_dim_of(name) != now.embed_dim_of(name):
        found.append(("embed_dim", str(before.embed_dim_of(name)), str(now.embed_dim_of(name))))
    return found


def compare_labels(before: Schema, now: Schema, run: str, found: Differences) -> None:
    was, wanted = ([(task.name, task.type) for task in schema.tasks] for schema in (before, now))
    if was != wanted:
        there = ", ".join(f"{name} ({kind})" for name, kind in was) or "none"
        found.never.append(Problem(("labels",), f"must be those of {run}, in its order: {there}", at="key"))


def compare_statistics(before: Encoder, now: Plan, run: str, found: Differences) -> None:
    """Numbers can be added up only where they were kept."""
    for name in before.transforms.keys() - before.moments.keys() - found.features:
        if getattr(now.features[name], "statistics", "") == "continue":
            text = f"cannot continue: {run} kept no sums of it; use frozen"
            found.never.append(Problem(("features", name, "statistics"), text))


def compare_layers(
    saved: Mapping[str, tuple[int, ...]],
    spec: Spec,
    before: Schema,
    now: Schema,
    base: Path,
    run: str,
    found: Differences,
) -> None:
    """Add the layers of the model that have no counterpart of their shape. ``now`` may have empty vocabularies."""
    from rechub_cli.trainers.carry import row_keys

    model = fitting.build_model(spec, now, base)
    keys = row_keys(model)
    state = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    layers = {key: shape for key, shape in state.items() if key not in keys}
    inputs = [{_place(feature) for feature in schema.features} for schema in (before, now)]
    if inputs[0] - inputs[1] and inputs[1] - inputs[0]:  # what came may stand where something else went
        found.layers |= layers.keys()
    told = []
    for key, shape in layers.items():
        if saved.get(key) != shape:
            found.layers.add(key)
            told.append(
                f"{key} is {_shape(shape)} here and {_shape(saved[key])} there" if key in saved else f"{key} is new"
            )
    gone = [key for key in saved if key not in state and ".rows." not in f".{key}"]
    told += [f"{key} is there alone" for key in gone]
    rows = [key for key, name in keys.items() if key in saved and saved[key][1:] != state[key][1:]]
    told += [f"{key} is {state[key][1]} wide here and {saved[key][1]} there" for key in rows if len(saved[key]) > 1]
    if told:
        found.fresh.append(Problem(("model",), f"its layers are not those of {run}: {listed(told)}", at="key"))


def _place(feature: Feature) -> tuple[Any, ...]:
    """What decides where a feature stands in what layers are given."""
    f = feature
    return f.name, f.kind, f.width, f.embed_dim, f.pooling, f.numeric_embedding, f.tower, f.role


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "a number"


def _shown(value: Any) -> str:
    return "not given" if value is None else str(value)
