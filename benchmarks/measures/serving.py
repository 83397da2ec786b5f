"""How fast vectors are written and searched."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np
import ours
import pyarrow as pa
import pyarrow.parquet as pq
from harness.records import Results
from harness.workplace import SPEEDS, Workplace

from measures.measure import Measure, Value

ITEMS = 1_000_000


def export(place: Workplace, number: int) -> Results:
    """Items to vectors of 64 numbers, Parquet to Parquet; the start, which does not grow with them, is told apart."""
    n, rng = place.rows(ITEMS), np.random.default_rng(number)
    folder = Path(tempfile.mkdtemp(dir=place.scratch))
    items = {
        "item_id": np.arange(n),
        "genre": rng.integers(0, 500, n),
        "brand": rng.integers(0, 20_000, n),
        "price": rng.random(n),
    }
    log = {"user_id": rng.integers(0, 5000, 200_000), "item_id": rng.integers(0, n, 200_000)}
    for name, table in (("items", pa.table(items)), ("one", pa.table(items).slice(0, 1)), ("log", pa.table(log))):
        pq.write_table(table, folder / f"{name}.parquet")
    files = ("--train", folder / "log.parquet", "--items", folder / "items.parquet")
    run = ours.train(SPEEDS / "dssm.yaml", *files, command="train-match", folder=folder)["run"]
    start, whole = (
        place.rechub(
            "embed", run, "--mode", "item", "-d", folder / f"{data}.parquet", "-o", folder / f"{data}-vectors.parquet"
        )
        for data in ("one", "items")
    )
    shutil.rmtree(folder)
    net = whole.seconds - start.seconds
    return {"rechub": {"items_per_s": n / net, "start_s": start.seconds, **whole.cost()}}


def search(place: Workplace, number: int) -> Results:
    """The exact top 100 of 54,542 items of 64 numbers for 2,048 users, and the matrix product with torch's top-k."""
    done = place.inside("search")
    return {"rechub": {"seconds": done["ours_s"], "others": done["others"]}, "bare torch": {"seconds": done["bare_s"]}}


MEASURES = (
    Measure(
        "export",
        "Vectors",
        "export of a million items, dim 64, Parquet to Parquet",
        export,
        (
            Value("items_per_s", "items/s after start-up", least=350_000),
            Value("start_s", "seconds to start", lower=True, digits=1),
            Value("peak_mb", "peak memory (RSS, MiB)", lower=True),
        ),
    ),
    Measure(
        "search",
        "Vectors",
        "exact top 100 of 54,542 items for 2,048 users",
        search,
        (Value("seconds", "seconds", lower=True, digits=3),),
    ),
)
