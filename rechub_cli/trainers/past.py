"""What users had before, as places of the catalogue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from rechub_cli.batch import Batch, Jagged


def places_of(ids: Tensor) -> Tensor:
    """Which place of the catalogue has an id, int64 (largest id + 1,), of ids (I,) by place; -1: none, or several."""
    times = torch.bincount(ids.long())
    places = torch.full_like(times, -1).index_copy_(0, ids.long(), torch.arange(len(ids), device=ids.device))
    return places.masked_fill_(times != 1, -1)


def with_past(batch: Batch, past: Sequence[tuple[Jagged, Tensor]]) -> Batch:
    """The batch with the items of histories in ``seen`` too: each given as ids, and the place of every id."""
    parts = [] if batch.seen is None else [(batch.seen.rows, batch.seen.values.long())]
    for events, places in past:
        found = places[events.values.long().clamp_max(len(places) - 1)].masked_fill(events.values >= len(places), -1)
        parts.append((events.rows[found >= 0], found[found >= 0]))
    rows, values = (torch.cat(columns) for columns in zip(*parts, strict=True))
    return replace(batch, seen=once(rows, values, len(batch)))


def once(rows: Tensor, places: Tensor, n_rows: int) -> Jagged:
    """The places of each row, none twice; each -1 stays, for nobody knows which item it is."""
    row, value = rows.cpu().numpy(), places.cpu().numpy()
    order = np.lexsort((value, row))
    row, value = row[order], value[order]
    kept = np.ones(len(row), bool)
    kept[1:] = (row[1:] != row[:-1]) | (value[1:] != value[:-1]) | (value[1:] < 0)
    lengths = np.bincount(row[kept], minlength=n_rows)
    device = places.device
    return Jagged(
        torch.from_numpy(value[kept]).to(device),
        torch.from_numpy(np.r_[0, lengths.cumsum()]).to(device),
    )
