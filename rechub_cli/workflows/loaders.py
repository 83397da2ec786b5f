"""From the parts of a run and its encoder to batches: rows are encoded into the cache, unless they are there."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rechub_cli.errors import DataError
from rechub_cli.run.events import Events
from rechub_cli.run.signals import Stop
from rechub_cli.workflows import fitting
from rechub_cli.workflows.sources import Parts, reading, warn_unseen

if TYPE_CHECKING:
    from rechub_cli.data.chunk import Rows
    from rechub_cli.data.encoder import Encoder
    from rechub_cli.spec.model import Spec
    from rechub_cli.workflows.history import PartEncoders


@dataclass(frozen=True, slots=True)
class Loaders:
    train: Iterable[Any]
    valid: Iterable[Any] | None
    rows: dict[str, int | None]  # by part


def make_loaders(spec: Spec, parts: Parts, encoders: PartEncoders, cache: Path, events: Events, stop: Stop) -> Loaders:
    """Encode what is not in the cache yet; tell what the data is like.

    Raises:
        DataError: a bad value, or labels that are all null.
    """
    from rechub_cli.data.cache import build_or_open

    found: dict[str, Iterable[Any]] = {}
    rows: dict[str, int | None] = {}
    for name, part in (("valid", parts.valid), ("train", parts.train)):
        if part is None:
            continue
        shuffle, encoder = name == "train", encoders.of(name)
        if spec.data.cache == "off":
            from rechub_cli.data.stream_loader import StreamLoader

            rows[name] = part.count_rows()
            found[name] = StreamLoader(
                part, encoder, spec.trainer.batch_size, labels=True, shuffle=shuffle, seed=spec.trainer.seed
            )
            continue
        blocks = build_or_open(cache, part, encoder, reading(events, stop, f"encoding {name}", part.count_rows()))
        from rechub_cli.data.loader import Loader

        rows[name] = blocks.n_rows
        check_labels(name, blocks.stats.label_mean, spec, events)
        found[name] = Loader(blocks, spec.trainer.batch_size, shuffle=shuffle, seed=spec.trainer.seed)
        if name == "valid":
            warn_unseen(name, blocks.stats.unseen, blocks.n_rows, events)
    kinds = fitting.describe_features(encoders.encoder.schema)
    counts = {name: rows[name] for name in ("train", "valid") if rows.get(name) is not None}
    said = [f"{name} {count:,} rows" for name, count in counts.items()]
    said.append(", ".join(f"{count} {kind}" for kind, count in kinds.items() if count))
    events.emit("data.ready", " · ".join(said), {**counts, **kinds})
    return Loaders(found["train"], found.get("valid"), rows)


def check_parts(spec: Spec, parts: Parts, encoders: PartEncoders, events: Events, stop: Stop) -> None:
    """Look at what is not read whole before training, so that nothing of it is found only after.

    Raises:
        DataError: as ``check_part``.
    """
    for name, part in (("valid", parts.valid if spec.data.cache == "off" else None), ("test", parts.test)):
        if part is not None:
            check_part(name, part, encoders.of(name), events, stop)


def check_part(name: str, part: Rows, encoder: Encoder, events: Events, stop: Stop) -> None:
    """Look at a part that is not encoded before training: at all its labels and weights, else at its first rows.

    Raises:
        DataError: a value that is no label or no weight, or a column of the wrong type.
    """
    from rechub_cli.data import labels
    from rechub_cli.data.fit import CHUNK_ROWS

    labels.check(part, encoder.plan, reading(events, stop, f"checking {name}", part.count_rows()))
    columns = list(dict.fromkeys([*encoder.columns, *encoder.label_columns]))
    for chunk in part.tables(columns, CHUNK_ROWS):
        encoder.encode(chunk)
        break


def check_labels(part: str, means: dict[str, float], spec: Spec, events: Events) -> None:
    """Say when labels can teach nothing.

    Raises:
        DataError: every label of a part is null.
    """
    for name, mean in means.items():
        if math.isnan(mean):
            raise DataError(f"every {name} of the {part} rows is null: there is nothing to learn from or to measure")
        if mean in (0, 1) and spec.labels[name].type == "classification":
            text = f"every {name} of the {part} rows is {mean:.0f}: there is nothing to tell apart"
            events.emit("data.warning", text, {"label": name, "mean": mean}, level="warn")
