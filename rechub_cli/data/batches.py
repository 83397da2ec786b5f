"""From encoded rows to a Batch of tensors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from rechub_cli.batch import Batch, Jagged
from rechub_cli.data.block import SEEN, Block, Layout, concatenate


def join(layout: Layout, parts: Sequence[Block]) -> Batch:
    """One Batch of the rows of all parts.

    All in numpy: torch would wake its threads for these small copies, and the model needs them.
    """
    block = parts[0] if len(parts) == 1 else concatenate(parts)
    starts = block.starts()
    sequences = {
        name: Jagged(torch.from_numpy(block.values[name]), torch.from_numpy(starts[name])) for name in layout.sequences
    }
    seen = sequences.pop(SEEN, None)
    return Batch(
        sparse=_columns(block.rows, layout.sparse, np.int32),
        dense=_columns(block.rows, layout.dense, np.float32),
        sequences=sequences,
        labels=_columns(block.rows, layout.labels, np.float32) if layout.n_labels else None,
        targets=_targets(block.rows, layout) if layout.target else None,
        seen=seen,
        weights=_columns(block.rows, layout.weights, np.float32)[:, 0] if layout.weight else None,
        label_weights=_columns(block.rows, layout.own_weights, np.float32) if layout.label_weights else None,
        group=_columns(block.rows, layout.groups, np.int64)[:, 0] if layout.group else None,
    )


def _targets(rows: np.ndarray, layout: Layout) -> Jagged:
    """One a row."""
    return Jagged(_columns(rows, layout.targets, np.int32), torch.from_numpy(np.arange(len(rows) + 1)))


def _columns(rows: np.ndarray, columns: slice, kind: type) -> torch.Tensor:
    return torch.from_numpy(rows[:, columns].copy().view(kind))
