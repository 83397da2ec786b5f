"""One step of lazy_adam on a table: the ids of 4,096 rows of 26 fields, as skewed as a log's.

python table_update.py SIZE...
"""

from __future__ import annotations

import statistics
import sys
import time

import numpy as np
from prepared import report

import torch  # isort: skip
from rechub_cli.nn.table import EmbeddingTable
from rechub_cli.optim.lazy_adam import LazyAdam
from rechub_cli.trainers import runtime

ROWS, FIELDS, DIM, STEPS = 4096, 26, 16, 30


def milliseconds(size: int) -> float:
    """Median of the steps, each on other ids."""
    rng = np.random.default_rng(size)
    own = size // FIELDS
    table = EmbeddingTable({f"C{field}": own for field in range(FIELDS)}, DIM)
    table.sparse_grad = True
    optimizer = LazyAdam([table.weight])
    weight = 1.0 / (np.arange(own) + 2.0) ** 1.05
    cumulative = np.cumsum(weight) / weight.sum()
    seconds = []
    for _ in range(STEPS):
        ids = np.searchsorted(cumulative, rng.random(ROWS * FIELDS)).clip(max=own - 1)
        rows = torch.from_numpy(ids + np.tile(np.arange(FIELDS) * own, ROWS)).unique()
        values = torch.randn(len(rows), DIM)
        table.weight.grad = torch.sparse_coo_tensor(rows[None], values, table.weight.shape, is_coalesced=True)
        started = time.perf_counter()
        optimizer.step()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[STEPS // 3 :]) * 1e3


runtime.prepare()
report(**{f"ms_{size}": milliseconds(int(size)) for size in sys.argv[1:]})
