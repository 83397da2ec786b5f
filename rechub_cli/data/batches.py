"""From encoded rows to a Batch of tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from rechub_cli.batch import Batch, Jagged
from rechub_cli.data.block import SEEN, Block, Layout, concatenate, gather, offsets_of, take
from rechub_cli.kernels import lists


def join(layout: Layout, parts: Sequence[Block]) -> Batch:
    """One Batch of the rows of all parts.

    All in numpy: torch would wake its threads for these small copies, and the model needs them.
    """
    block = parts[0] if len(parts) == 1 else concatenate(parts)
    return _batch(layout, [block.rows[:, columns].copy() for columns in layout.parts], block.starts(), block.values)


def pick(block: Block, starts: dict[str, np.ndarray], order: np.ndarray, threads: int) -> Batch:
    """One Batch of the rows named by ``order``, as ``take`` and ``join`` make it; ``starts`` are the block's own."""
    layout = block.layout
    parts = lists.take_rows(block.rows, order, layout.widths, threads)
    if parts is None:
        return join(layout, [take(block, starts, order)])
    lengths = parts[layout.parts.index(layout.lengths)]
    offsets, values = {}, {}
    for place, name in enumerate(layout.sequences):
        offsets[name] = offsets_of(lengths[:, place])
        values[name] = gather(block.values[name], starts[name][order], lengths[:, place], threads)
    return _batch(layout, parts, offsets, values)


def _batch(
    layout: Layout, parts: Sequence[np.ndarray], offsets: Mapping[str, np.ndarray], values: Mapping[str, np.ndarray]
) -> Batch:
    """Of the parts of a layout: int32 (B, columns) each."""
    sparse, dense, labels, weights, own_weights, groups, _, targets = parts
    sequences = {
        name: Jagged(torch.from_numpy(values[name]), torch.from_numpy(offsets[name])) for name in layout.sequences
    }
    seen = sequences.pop(SEEN, None)
    return Batch(
        sparse=torch.from_numpy(sparse),
        dense=_floats(dense),
        sequences=sequences,
        labels=_floats(labels) if layout.n_labels else None,
        targets=_targets(targets) if layout.target else None,
        seen=seen,
        weights=_floats(weights)[:, 0] if layout.weight else None,
        label_weights=_floats(own_weights) if layout.label_weights else None,
        group=torch.from_numpy(groups.view(np.int64))[:, 0] if layout.group else None,
    )


def _targets(targets: np.ndarray) -> Jagged:
    """One a row."""
    return Jagged(torch.from_numpy(targets), torch.from_numpy(np.arange(len(targets) + 1)))


def _floats(part: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(part.view(np.float32))
