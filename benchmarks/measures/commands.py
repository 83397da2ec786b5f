"""Whole commands as processes: from raw strings to weights, to the first step, and to scores."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import ours
import pyarrow.parquet as pq
from harness.machine import precisions
from harness.records import Results
from harness.workplace import SPEEDS, Workplace, in_round

from measures.measure import Measure, Value

PEERS = ("torch_rechub_ctr", "fuxictr_ctr")


def raw(place: Workplace, number: int) -> Results:
    """One epoch from raw string columns: ours without and with its cache, theirs with their own preprocessing."""
    data = place.dataset("criteo", "raw")
    folder = Path(tempfile.mkdtemp(dir=place.scratch))
    found: dict[str, dict[str, float]] = {}
    for name in ("rechub", "rechub, warm cache"):
        done = ours.train(SPEEDS / "deepfm.yaml", "--train", data / "train.parquet", folder=folder)
        found[name] = {key: float(done[key]) for key in ("total", "start_s", "cpu_s", "peak_mb", "others")}
    shutil.rmtree(folder)
    return {**found, **place.peers(PEERS, "raw", data, "deepfm", seed=2021 + number)}


def predict(place: Workplace, number: int) -> Results:
    """Scores of a file, Parquet to Parquet. Ours reads raw strings, the others rows that are encoded already."""
    file = place.dataset("criteo", "raw") / "train.parquet"
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(dir=place.scratch) as name:
        one, target = Path(name) / "one.parquet", Path(name) / "scores.parquet"
        table = pq.read_table(file)
        pq.write_table(table.slice(0, 1), one)
        for title, precision in precisions().items():
            model = place.model("deepfm", "criteo", trainer__precision=precision)
            start, whole = (
                place.rechub("predict", model, "--data", data, "-o", target, "--overwrite") for data in (one, file)
            )
            found[title] = {
                "rows_per_s": table.num_rows / (whole.seconds - start.seconds),
                "rows_per_s_with_start": table.num_rows / whole.seconds,
                "start_s": start.seconds,
                **whole.cost(),
            }
    scripts = in_round((*PEERS, "deepctr_ctr"), number)
    peers = place.peers(scripts, "predict", place.dataset("criteo", "ids"), "deepfm")
    return {**found, **peers}


PREDICT_BARS = {"rechub": {"torch-rechub": 10.0, "fuxictr": 4.0}}
MEASURES = (
    Measure(
        "raw",
        "Whole commands",
        "DeepFM, 1M × 39 raw string columns, one epoch",
        raw,
        (
            Value(
                "total",
                "seconds of the process",
                ratios={"rechub": {"torch-rechub": 5.0, "fuxictr": 4.0}},
                lower=True,
                digits=1,
            ),
            Value("start_s", "seconds from the command's start to the first epoch", most=6.0, lower=True, digits=1),
            Value("cpu_s", "seconds of CPU", lower=True, digits=1),
            Value("peak_mb", "peak memory (RSS, MiB)", lower=True),
        ),
    ),
    Measure(
        "predict",
        "Whole commands",
        "scores of 1M rows, Parquet to Parquet",
        predict,
        (
            Value("rows_per_s", "rows/s after start-up", ratios=PREDICT_BARS),
            Value("rows_per_s_with_start", "rows/s with start-up"),
            Value("peak_mb", "peak memory (RSS, MiB)", lower=True),
        ),
    ),
)
