"""Criteo-like: 26 string ids with a million values in all, 13 skewed numbers with gaps, one label."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from synthetic.draws import Names, labels, planted_logits, zipf
from synthetic.tables import write

ROWS, TEST_ROWS, VOCABULARY = 1_000_000, 100_000, 1_000_000
# Shares of the whole vocabulary, field by field, as skewed as the public Criteo sample.
FIELDS = np.array(
    [
        *(1300, 520, 220000, 100000, 300, 22, 11000, 600, 3, 50000, 5200, 190000, 3000),
        *(26, 10000, 150000, 10, 4800, 2000, 4, 170000, 17, 15, 45000, 90, 34000),
    ]
)
N_DENSE = 13


def make(folder: Path, rng: np.random.Generator, scale: float) -> None:
    rows, n = int(ROWS * scale), int(ROWS * scale) + int(TEST_ROWS * scale)
    sizes = np.maximum(3, FIELDS * int(VOCABULARY * scale) // FIELDS.sum())
    columns = [zipf(rng, n, size) for size in sizes]
    counts = np.floor(rng.lognormal(1.0, 1.5, (n, N_DENSE))).astype(np.int32)
    dense = np.log1p(counts).astype(np.float32)
    dense = (dense - dense.mean(0)) / dense.std(0)
    label = labels(rng, planted_logits(rng, columns, sizes, dense))
    raw, ids = {"label": label}, {"label": label.astype(np.float32)}
    for j in range(N_DENSE):
        raw[f"I{j + 1}"] = pa.array(counts[:, j], mask=rng.random(n) < 0.05)
        ids[f"I{j + 1}"] = dense[:, j]
    for j, (column, size) in enumerate(zip(columns, sizes, strict=True)):
        raw[f"C{j + 1}"] = Names(rng, size).of(column)
        ids[f"C{j + 1}"] = column + 1
    sparse = {f"C{j + 1}": int(size) + 1 for j, size in enumerate(sizes)}
    write(folder, rows, raw, ids, sparse=sparse, dense=[f"I{j + 1}" for j in range(N_DENSE)])
