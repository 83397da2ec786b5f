"""What the command adds to its model: its epoch over a loop that only trains, on batches that lie in memory."""

from __future__ import annotations

import shutil
from functools import partial
from typing import Any

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
EPOCHS = 3  # of a process; each side has two, in turns, for one process may be a fifth slower than the next


def overhead(spec: str, place: Workplace, number: int) -> Results:
    dataset, rows, command = LOOPS[spec]
    data = place.dataset(dataset, "raw") / "train.parquet"
    limit = ("--limit-rows", place.rows(rows))
    found: dict[str, dict[str, float]] = {}
    for title, precision in precisions().items():
        given = ("--train", data, *limit, "--epochs", EPOCHS)
        train = partial(ours.train, SPEEDS / f"{spec}.yaml", *given, command=command, trainer__precision=precision)
        commands: list[dict[str, Any]] = []
        loops: list[dict[str, Any]] = []
        for _ in range(2):
            commands.append(train())
            loops.append(place.inside("bare_loop", commands[-1]["run"], data, *limit, "--epochs", EPOCHS))
            shutil.rmtree(commands[-1]["run"].parent)
        epoch_s, bare_s = (min(each["epoch_s"] for each in side) for side in (commands, loops))
        found[title] = {
            "ratio": epoch_s / bare_s,
            "epoch_s": epoch_s,
            "bare_s": bare_s,
            "others": max(each["others"] for each in (*commands, *loops)),
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
