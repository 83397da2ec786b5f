"""The floor: the least time that a step can take on this machine, from its arithmetic and the bytes it must move.

A step takes at least, for every matrix product, what its operations take at the speed of a large product or what its
bytes take at the speed of a copy, whichever is longer; and the traffic of the embeddings. What lies between the
products (norms, activations, the loss) could be done while their values are at hand, and is not counted.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from harness.machine import precisions
from harness.records import Results
from harness.workplace import SPEEDS, Workplace, sizes

from measures.measure import Measure, Value

SPEEDS_OF = ("gflops_fp32", "gflops_bf16", "copy_gbps")  # the machine; that of bf16 where it has it
STEPS = {  # measure of measures/training.py -> spec, data set, command
    "train.deepfm": ("deepfm", "criteo", "train-ctr"),
    "train.frappe": ("frappe", "frappe", "train-ctr"),
    "train.dcn_v2": ("dcn_v2", "criteo", "train-ctr"),
    "train.din": ("din", "behaviour", "train-ctr"),
    "train.mmoe": ("mmoe", "census", "train-mtl"),
    "train.sasrec_full": ("sasrec", "films", "train-match"),
}


def ceilings(place: Workplace, number: int) -> Results:
    done = place.inside("ceilings")
    threads = int(done["threads"])
    found: dict[str, dict[str, float]] = {}
    for count, title in ((1, "1 thread"), (threads, f"{threads} threads")):
        found[title] = {name: done[f"{name}_{count}"] for name in SPEEDS_OF if f"{name}_{count}" in done}
        found[title]["others"] = done["others"]
    return found


def floor(measure: str, place: Workplace, number: int) -> Results:
    """Milliseconds of the floor of one step in each precision, with the ceilings of this very round."""
    spec, dataset, command = STEPS[measure]
    limits = place.inside("ceilings")
    threads = int(limits["threads"])
    copy = limits[f"copy_gbps_{threads}"] * 1e9
    data = place.dataset(dataset, "raw") / "train.parquet"
    found: dict[str, dict[str, float]] = {}
    for title, precision in precisions().items():
        precise = ("--set", f"trainer.precision={precision}")
        step = place.inside("step_cost", command, SPEEDS / f"{spec}.yaml", "--train", data, *precise)
        peak = limits[f"gflops_{precision}_{threads}"] * 1e9
        products = sum(max(operations / peak, size / copy) for operations, size in step["products"])
        embeddings = embedding_bytes(place, spec, dataset)
        found[title] = {
            "gflop": step["gflop"],
            "mb": (sum(size for _, size in step["products"]) + embeddings) / 1e6,
            "floor_ms": 1e3 * (products + embeddings / copy),
            "rows": step["rows"],
            "others": max(limits["others"], step["others"]),
        }
    return found


def embedding_bytes(place: Workplace, spec: str, dataset: str) -> float:
    """The bytes that the embeddings of a batch cannot do without.

    Each occurrence is written for the model and its gradient read; each distinct row is read for the model, then read
    and written with both moments by Adam.
    """
    options = sizes(spec)
    batch, dim = int(str(options["batch"])), int(str(options["dim"]))
    file = pq.ParquetFile(place.dataset(dataset, "ids") / "train.parquet")
    if "pos" in file.schema_arrow.names:
        return events_bytes(file, batch, int(str(options["length"])), dim)
    occurrences = distinct = 0
    for column in next(file.iter_batches(batch)).columns:
        ids = np.asarray(column.flatten() if pa.types.is_fixed_size_list(column.type) else column)
        if ids.dtype.kind == "i":
            ids = ids[ids > 0]  # 0 is padding
            occurrences, distinct = occurrences + len(ids), distinct + len(np.unique(ids))
    return 4.0 * dim * (2 * occurrences + 7 * distinct)


def events_bytes(file: pq.ParquetFile, users: int, length: int, dim: int) -> float:
    """The same of a batch of users with their newest events."""
    log = file.read(["user_id", "item_id"])
    user, item = log["user_id"].to_numpy(), log["item_id"].to_numpy()
    ids = np.concatenate([item[user == each][-length:] for each in np.unique(user)[:users]])
    return 4.0 * dim * (2 * len(ids) + 7 * len(np.unique(ids)))


def measure(name: str) -> Measure:
    return Measure(
        f"floor.{name.removeprefix('train.')}",
        "The floor",
        name,
        lambda place, number: floor(name, place, number),
        (
            Value("gflop", "GFLOP of a step", lower=True, digits=2),
            Value("mb", "MB of a step", lower=True),
            Value("floor_ms", "floor, ms", lower=True, digits=2),
            Value("rows", "rows of a step"),
        ),
        rounds=1,
    )


CEILINGS = Measure(
    "ceilings",
    "The machine",
    "this machine",
    ceilings,
    (
        Value("gflops_fp32", "product of 2048 × 2048, fp32, GFLOP/s"),
        Value("gflops_bf16", "the same in bf16, GFLOP/s"),
        Value("copy_gbps", "copy, read and written, GB/s", digits=1),
    ),
)
MEASURES = (CEILINGS, *(measure(name) for name in STEPS))
