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
    """One Batch of the rows of all parts."""
    rows = torch.from_numpy(parts[0].rows if len(parts) == 1 else np.concatenate([part.rows for part in parts]))
    lengths = rows[:, layout.lengths].long()
    sequences = {}
    for place, name in enumerate(layout.sequences):
        values = [part.values[name] for part in parts]
        offsets = torch.zeros(len(rows) + 1, dtype=torch.int64)
        torch.cumsum(lengths[:, place], 0, out=offsets[1:])
        sequences[name] = Jagged(torch.from_numpy(values[0] if len(values) == 1 else np.concatenate(values)), offsets)
    return Batch(
        sparse=rows[:, layout.sparse].contiguous(),
        dense=rows[:, layout.dense].contiguous().view(torch.float32),
        sequences=sequences,
        labels=rows[:, layout.labels].contiguous().view(torch.float32) if layout.n_labels else None,
        weights=rows[:, layout.weights].contiguous().view(torch.float32)[:, 0] if layout.weight else None,
        group=rows[:, layout.groups].contiguous().view(torch.int64)[:, 0] if layout.group else None,
    )
