"""From rows of the matrix to a Batch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from rechub_cli.batch import Batch, Jagged
from rechub_cli.data.block import Layout, gather, offsets_of


@dataclass(slots=True)
class Part:
    """Some rows of a batch, with the values of their sequences."""

    rows: np.ndarray
    values: dict[str, np.ndarray]


def starts_of(layout: Layout, rows: np.ndarray) -> dict[str, np.ndarray]:
    lengths = rows[:, layout.lengths]
    return {name: offsets_of(lengths[:, place]) for place, name in enumerate(layout.sequences)}


def take(
    layout: Layout, rows: np.ndarray, values: dict[str, np.ndarray], starts: dict[str, np.ndarray], order: np.ndarray
) -> Part:
    taken = np.take(rows, order, axis=0)
    lengths = taken[:, layout.lengths]
    return Part(
        taken,
        {
            name: gather(values[name], starts[name][order], lengths[:, place])
            for place, name in enumerate(layout.sequences)
        },
    )


def join(layout: Layout, parts: list[Part]) -> Batch:
    """One Batch of the rows of all parts.

    All in numpy: torch would wake its threads for these small copies, and they are needed by the model.
    """
    rows = parts[0].rows if len(parts) == 1 else np.concatenate([part.rows for part in parts])
    sequences = {}
    for place, name in enumerate(layout.sequences):
        values = [part.values[name] for part in parts]
        joined = values[0] if len(values) == 1 else np.concatenate(values)
        offsets = offsets_of(rows[:, layout.lengths.start + place])
        sequences[name] = Jagged(torch.from_numpy(joined), torch.from_numpy(offsets))
    return Batch(
        sparse=_columns(rows, layout.sparse, np.int32),
        dense=_columns(rows, layout.dense, np.float32),
        sequences=sequences,
        labels=_columns(rows, layout.labels, np.float32) if layout.n_labels else None,
        weights=_columns(rows, layout.weights, np.float32)[:, 0] if layout.weight else None,
        group=_columns(rows, layout.groups, np.int64)[:, 0] if layout.group else None,
    )


def _columns(rows: np.ndarray, columns: slice, kind: type) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(rows[:, columns]).view(kind))
