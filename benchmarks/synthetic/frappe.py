"""Frappe-like: ten string ids with 5,382 values in all, one label. A small table, where fixed costs show."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from synthetic.draws import Names, labels, planted_logits, zipf
from synthetic.tables import write

ROWS, TEST_ROWS = 200_000, 30_000
FIELDS = {
    "user": 957,
    "item": 4082,
    "daytime": 7,
    "weekday": 7,
    "isweekend": 2,
    "homework": 3,
    "cost": 2,
    "weather": 9,
    "country": 80,
    "city": 233,
}


def make(folder: Path, rng: np.random.Generator, scale: float) -> None:
    rows, n = int(ROWS * scale), int(ROWS * scale) + int(TEST_ROWS * scale)
    columns = {field: zipf(rng, n, size) for field, size in FIELDS.items()}
    label = labels(rng, planted_logits(rng, list(columns.values()), list(FIELDS.values())))
    raw = {"label": label, **{field: Names(rng, FIELDS[field]).of(column) for field, column in columns.items()}}
    ids = {"label": label.astype(np.float32), **{field: column + 1 for field, column in columns.items()}}
    write(folder, rows, raw, ids, sparse={field: size + 1 for field, size in FIELDS.items()})
