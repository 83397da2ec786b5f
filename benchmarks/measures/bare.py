"""What the command adds to its model: its epoch over a loop that only trains, on batches that lie in memory."""

from __future__ import annotations

import shutil

import ours
from harness.machine import precisions
from harness.records import Results
from harness.workplace import SPEEDS, Workplace

from measures.measure import Measure, Value

LOOPS = {  # spec -> data set, rows, command
    "deepfm": ("criteo", 1_000_000, "train-ctr"),
    "dcn_v2": ("criteo", 200_000, "train-ctr"),
    "din": ("behaviour", 200_000, "train-ctr"),
    "mmoe": ("census", 200_000, "train-mtl"),
}


def overhead(spec: str, place: Workplace, number: int) -> Results:
    dataset, rows, command = LOOPS[spec]
    data = place.dataset(dataset, "raw") / "train.parquet"
    limit, epochs = ("--limit-rows", place.rows(rows)), ("--epochs", 4)  # of both sides the quickest
    found: dict[str, dict[str, float]] = {}
    for title, precision in precisions().items():
        settings = {"trainer__precision": precision}
        done = ours.train(SPEEDS / f"{spec}.yaml", "--train", data, *limit, *epochs, command=command, **settings)
        bare = place.inside("bare_loop", done["run"], data, *limit, *epochs)
        shutil.rmtree(done["run"].parent)
        found[title] = {
            "ratio": done["epoch_s"] / bare["epoch_s"],
            "epoch_s": done["epoch_s"],
            "bare_s": bare["epoch_s"],
            "others": max(done["others"], bare["others"]),
        }
    return found


def measure(spec: str) -> Measure:
    return Measure(
        f"bare.{spec}",
        "Beside the bare loop",
        f"{spec}: an epoch in the command over one of the bare loop",
        lambda place, number: overhead(spec, place, number),
        (
            Value("ratio", "times as long", most=1.10, lower=True, digits=2),
            Value("epoch_s", "seconds in the command", lower=True, digits=2),
            Value("bare_s", "seconds of the bare loop", lower=True, digits=2),
        ),
    )


MEASURES = tuple(measure(spec) for spec in LOOPS)
