"""Clicks with what the user had before: an item and its category beside up to 50 earlier ones of each.

A click is likelier the more of the history is of the candidate's category.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from synthetic.draws import Names, labels, zipf
from synthetic.tables import write

ROWS, TEST_ROWS = 200_000, 30_000
USERS, ITEMS, CATEGORIES = 50_000, 60_000, 800
LENGTH = 50


def make(folder: Path, rng: np.random.Generator, scale: float) -> None:
    rows, n = int(ROWS * scale), int(ROWS * scale) + int(TEST_ROWS * scale)
    category_of = zipf(rng, ITEMS, CATEGORIES)
    user, item = zipf(rng, n, USERS), zipf(rng, n, ITEMS)
    history = zipf(rng, n * LENGTH, ITEMS).reshape(n, LENGTH)
    liked = rng.random((n, LENGTH)) < 0.3 * rng.random((n, 1))  # places that hold the candidate's own item again
    history[liked] = np.broadcast_to(item[:, None], history.shape)[liked]
    lengths = rng.integers(1, LENGTH + 1, n)
    there = np.arange(LENGTH) >= LENGTH - lengths[:, None]  # the newest last, padded in front
    category, categories = category_of[item], category_of[history]
    alike = ((categories == category[:, None]) & there).sum(1) / lengths
    bias = (rng.standard_normal(ITEMS) * 0.5)[item] + (rng.standard_normal(USERS) * 0.5)[user]
    label = labels(rng, 8.0 * alike + bias, -2.0)
    items_named, categories_named = Names(rng, ITEMS), Names(rng, CATEGORIES)
    offsets = np.append(0, np.cumsum(lengths)).astype(np.int32)
    raw = {
        "label": label,
        "user": Names(rng, USERS).of(user),
        "item": items_named.of(item),
        "category": categories_named.of(category),
        "item_history": pa.ListArray.from_arrays(offsets, items_named.of(history[there])),
        "category_history": pa.ListArray.from_arrays(offsets, categories_named.of(categories[there])),
    }
    ids = {
        "label": label.astype(np.float32),
        "user": user + 1,
        "item": item + 1,
        "category": category + 1,
        "item_history": lists((history + 1) * there),
        "category_history": lists((categories + 1) * there),
    }
    sparse = {"user": USERS + 1, "item": ITEMS + 1, "category": CATEGORIES + 1}
    write(folder, rows, raw, ids, sparse=sparse, sequences={"item_history": "item", "category_history": "category"})


def lists(matrix: np.ndarray) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(matrix.ravel().astype(np.int32)), matrix.shape[1])
