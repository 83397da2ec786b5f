"""A fitted encoder as files: ``encoder.json``, and one Parquet file for each vocabulary."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from rechub_cli.data.fit import Fitted, Vocabularies
from rechub_cli.data.numbers import Moments, Transform
from rechub_cli.data.plan import Plan
from rechub_cli.data.reference import Reference
from rechub_cli.data.vocabulary import Buckets, Vocabulary
from rechub_cli.errors import RunFailed
from rechub_cli.files import read_json, write_text
from rechub_cli.schema import Schema
from rechub_cli.spec.model import AnyFeature, Label

FORMAT = 1  # raised when the meaning of the files, or of an id, changes
NAME = "encoder.json"
_FEATURES: TypeAdapter[dict[str, AnyFeature]] = TypeAdapter(dict[str, AnyFeature])
_LABELS: TypeAdapter[dict[str, Label]] = TypeAdapter(dict[str, Label])


def described(plan: Plan, transforms: Mapping[str, Transform], bins: Mapping[str, tuple[float, ...]]) -> dict[str, Any]:
    """As JSON, all that decides what a row becomes, but for the vocabularies."""
    histories = {"keys": list(plan.keys)} if plan.keys else {}
    return {
        **histories,
        "format": FORMAT,
        "features": _features(plan.features),
        "labels": _LABELS.dump_python(plan.labels, mode="json"),
        "weight": plan.weight,
        "group": plan.group,
        "embed_dim": plan.embed_dim,
        "tower": plan.tower,
        "transforms": {name: asdict(transform) for name, transform in transforms.items()},
        "bins": bins,
    }


def save(folder: Path, plan: Plan, found: Fitted, schema: Schema, hash: str, reference: Reference | None) -> None:
    """Write all files; ``encoder.json``, which names the others, comes last."""
    folder.mkdir(parents=True, exist_ok=True)
    entries: dict[str, Any] = {}
    for place, (key, vocabulary) in enumerate(found.vocabularies.items()):
        if isinstance(vocabulary, Buckets):
            entries[key] = asdict(vocabulary)
            continue
        readable = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in key)[:60]
        file = f"{place:03d}-{readable}.parquet"
        vocabulary.save(folder / file)
        entries[key] = {"file": file, "kind": str(vocabulary.values.type), "oov_buckets": vocabulary.oov_buckets}
    state = described(plan, found.transforms, found.bins)
    state |= {"vocabularies": entries, "schema": schema.to_json(), "hash": hash}
    state["moments"] = {name: moments.to_json() for name, moments in found.moments.items()}
    if reference is not None:
        reference.save(folder)
    write_text(folder / NAME, json.dumps(state, indent=1))


def read(folder: Path) -> tuple[Plan, Fitted, str]:
    """What ``save`` wrote, and the hash it had; to be called within ``whole``."""
    state = read_json(folder / NAME)
    if state["format"] != FORMAT:
        raise ValueError(f"format {state['format']} is not {FORMAT}, which this version reads")
    plan = Plan(
        _FEATURES.validate_python(state["features"]),
        _LABELS.validate_python(state["labels"]),
        state["weight"],
        state["group"],
        state["embed_dim"],
        state["tower"],
        tuple(state.get("keys", ())),
    )
    vocabularies: Vocabularies = {}
    for key, entry in state["vocabularies"].items():
        if "file" not in entry:
            vocabularies[key] = Buckets(**entry)
            continue
        file = folder / Path(entry["file"]).name  # a name in this folder, whatever it says
        vocabularies[key] = Vocabulary.load(file, entry["kind"], entry["oov_buckets"])
    transforms = {
        name: Transform(**{**item, "knots": tuple(item["knots"]), "levels": tuple(item["levels"])})
        for name, item in state["transforms"].items()
    }
    bins = {name: tuple(edges) for name, edges in state["bins"].items()}
    moments = {name: Moments.read(item) for name, item in state.get("moments", {}).items()}
    return plan, Fitted(vocabularies, transforms, bins, moments), state["hash"]


@contextlib.contextmanager
def whole(folder: Path | str) -> Iterator[None]:
    """Raise RunFailed where what is read here is not what was saved."""
    try:
        yield
    except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise RunFailed(f"{Path(folder) / NAME} is damaged: {error}; train again or restore the run") from error


def _features(features: Mapping[str, AnyFeature]) -> dict[str, Any]:
    """Without what only a later fit asks for."""
    found = _FEATURES.dump_python(dict(features), mode="json")
    return {
        name: {option: value for option, value in feature.items() if option not in ("expire", "statistics")}
        for name, feature in found.items()
    }
