"""A table's part of a step: from the gradients of what 4,096 rows of 26 fields looked up to the table's new rows.

    python table_update.py SIZE...

Ids are as skewed as a log's. They are brought together, the gradients of each row are summed, and lazy_adam updates the
rows: ``ms_SIZE``. The last alone: ``rows_ms_SIZE``.
"""

from __future__ import annotations

import statistics
import sys
import time

import numpy as np
from prepared import report

import torch  # isort: skip
from rechub_cli.nn.request import Request
from rechub_cli.nn.table import EmbeddingTable
from rechub_cli.optim.lazy_adam import LazyAdam
from rechub_cli.trainers import runtime

ROWS, FIELDS, DIM, STEPS = 4096, 26, 16, 60


def measured(size: int) -> dict[str, float]:
    """Medians of the steps, each on other ids."""
    own = size // FIELDS
    table = EmbeddingTable({f"C{field}": own for field in range(FIELDS)}, DIM)
    table.sparse_grad = True
    optimizer = LazyAdam([table.weight])
    whole, alone = [], []
    for ids in drawn(own):
        fields = table.answer(Request(ids)).fields
        gradient = torch.randn_like(fields)
        table.weight.grad = None
        started = time.perf_counter()
        fields.backward(gradient)
        summed = time.perf_counter()
        optimizer.step()
        ended = time.perf_counter()
        whole.append(ended - started)
        alone.append(ended - summed)
    return {
        f"{name}_{size}": statistics.median(seconds[STEPS // 3 :]) * 1e3
        for name, seconds in (("ms", whole), ("rows_ms", alone))
    }


def drawn(own: int) -> list[torch.Tensor]:
    """(B, F) rows of the table for each step, by a power law within each field; its first row, padding, is left out."""
    rng = np.random.default_rng(own)
    weight = 1.0 / (np.arange(1, own) + 1.0) ** 1.05
    cumulative = np.cumsum(weight) / weight.sum()
    first = np.arange(FIELDS) * own + 1
    draws = (np.searchsorted(cumulative, rng.random((ROWS, FIELDS))).clip(max=own - 2) for _ in range(STEPS))
    return [torch.from_numpy((ids + first).astype(np.int32)) for ids in draws]


runtime.prepare_training()
found: dict[str, float] = {}
for size in sys.argv[1:]:
    found |= measured(int(size))
report(**found)
