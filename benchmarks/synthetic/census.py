"""Census-like: 33 small categories, seven numbers, and two labels that partly depend on the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from synthetic.draws import Names, labels, planted_logits, zipf
from synthetic.tables import write

ROWS, TEST_ROWS = 200_000, 50_000
SIZES = [
    *(9, 52, 47, 17, 3, 7, 24, 15, 5, 10, 2, 3, 6, 8, 6, 6, 50),
    *(38, 8, 9, 8, 9, 3, 4, 43, 43, 43, 5, 3, 3, 3, 2, 4),
]
N_DENSE = 7


def make(folder: Path, rng: np.random.Generator, scale: float) -> None:
    rows, n = int(ROWS * scale), int(ROWS * scale) + int(TEST_ROWS * scale)
    columns = [zipf(rng, n, size) for size in SIZES]
    counts = np.floor(rng.lognormal(1.0, 1.0, (n, N_DENSE))).astype(np.int32)
    dense = np.minimum(counts / np.quantile(counts, 0.999, axis=0), 1.0).astype(np.float32)
    both = planted_logits(rng, columns, SIZES, dense)
    own = [planted_logits(rng, columns, SIZES, dense) for _ in range(2)]
    label = {name: labels(rng, 0.7 * both + 0.7 * one) for name, one in zip(("income", "marital"), own, strict=True)}
    raw, ids = dict(label), {name: values.astype(np.float32) for name, values in label.items()}
    for j in range(N_DENSE):
        raw[f"I{j + 1}"], ids[f"I{j + 1}"] = counts[:, j], dense[:, j]
    for j, (column, size) in enumerate(zip(columns, SIZES, strict=True)):
        raw[f"C{j + 1}"], ids[f"C{j + 1}"] = Names(rng, size).of(column), column + 1
    write(
        folder,
        rows,
        raw,
        ids,
        labels=list(label),
        sparse={f"C{j + 1}": size + 1 for j, size in enumerate(SIZES)},
        dense=[f"I{j + 1}" for j in range(N_DENSE)],
    )
