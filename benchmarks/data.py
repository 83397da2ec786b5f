"""Seeded Criteo-like rows: 26 string ids with Zipf-distributed values (about 1M in all), 13 skewed numbers with gaps.

Written twice: `raw/` as a log would have it (hex strings, nulls), for commands that start from raw columns,
and `ids/` with the ids already integers and the numbers standardised, for loops of libraries that need that.

    python benchmarks/data.py FOLDER [--rows 1000000] [--test-rows 100000] [--vocabulary 1000000]
"""

import argparse
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

# Shares of the whole vocabulary, field by field, as skewed as the public Criteo sample.
FIELDS = np.array(
    [
        *(1300, 520, 220000, 100000, 300, 22, 11000, 600, 3, 50000, 5200, 190000, 3000),
        *(26, 10000, 150000, 10, 4800, 2000, 4, 170000, 17, 15, 45000, 90, 34000),
    ]
)
N_DENSE = 13
ROW_GROUP = 65_536


def zipf(rng: np.random.Generator, n: int, size: int) -> np.ndarray:
    weight = 1.0 / np.power(np.arange(size) + 2.0, 1.05)
    cumulative = np.cumsum(weight)
    rank = np.searchsorted(cumulative / cumulative[-1], rng.random(n))
    return rng.permutation(size)[np.minimum(rank, size - 1)].astype(np.int32)


def planted_logits(rng: np.random.Generator, ids: list[np.ndarray], sizes: np.ndarray, dense: np.ndarray) -> np.ndarray:
    """First-order weights and rank-4 interactions of the ids, linear in the numbers; variance 1.6 squared."""
    logits = dense @ (rng.standard_normal(dense.shape[1]) * 0.15)
    total, squares = np.zeros((len(logits), 4)), np.zeros((len(logits), 4))
    for column, size in zip(ids, sizes, strict=True):
        logits += (rng.standard_normal(size) * 0.35)[column]
        factors = (rng.standard_normal((size, 4)) * 0.22)[column]
        total += factors
        squares += factors**2
    logits += 0.5 * (total**2 - squares).sum(1)
    return (logits - logits.mean()) / logits.std() * 1.6


def make(folder: Path, rows: int, test_rows: int, vocabulary: int, seed: int = 1) -> None:
    rng = np.random.default_rng(seed)
    sizes = np.maximum(3, FIELDS * vocabulary // FIELDS.sum())
    n = rows + test_rows
    ids = [zipf(rng, n, size) for size in sizes]
    counts = np.floor(rng.lognormal(1.0, 1.5, (n, N_DENSE))).astype(np.int32)
    dense = np.log1p(counts).astype(np.float32)
    dense = (dense - dense.mean(0)) / dense.std(0)
    logits = planted_logits(rng, ids, sizes, dense)
    label = (rng.random(n) < 1 / (1 + np.exp(1.2 - logits))).astype(np.int8)
    raw, encoded = {"label": label}, {"label": label.astype(np.float32)}
    for j in range(N_DENSE):
        raw[f"I{j + 1}"] = pa.array(counts[:, j], mask=rng.random(n) < 0.05)
        encoded[f"I{j + 1}"] = dense[:, j]
    for j, (column, size) in enumerate(zip(ids, sizes, strict=True)):
        names = pa.array([f"{value:08x}" for value in rng.choice(2**32, size, replace=False)])
        raw[f"C{j + 1}"] = names.take(pa.array(column))
        encoded[f"C{j + 1}"] = column
    for name, columns in (("raw", raw), ("ids", encoded)):
        target = folder / name
        target.mkdir(parents=True, exist_ok=True)
        table = pa.table(columns)
        pq.write_table(table.slice(0, rows), target / "train.parquet", row_group_size=ROW_GROUP)
        pq.write_table(table.slice(rows), target / "test.parquet", row_group_size=ROW_GROUP)
    meta = {
        "label": "label",
        "sparse": {f"C{j + 1}": int(size) for j, size in enumerate(sizes)},
        "dense": [f"I{j + 1}" for j in range(N_DENSE)],
    }
    (folder / "ids" / "meta.json").write_text(json.dumps(meta))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--test-rows", type=int, default=100_000)
    parser.add_argument("--vocabulary", type=int, default=1_000_000)
    arguments = parser.parse_args()
    make(arguments.folder, arguments.rows, arguments.test_rows, arguments.vocabulary)
