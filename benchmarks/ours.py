"""Our side of every comparison: the commands themselves, as processes, and what they wrote down."""

from __future__ import annotations

import csv
import datetime
import json
import os
import secrets
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.process import Ended, run

RECHUB = [sys.executable, "-m", "rechub_cli"]


def rechub(*arguments: object, before: Sequence[str] = ()) -> Ended:
    """One command, quietly; ``before``: words that it is started with.

    Raises:
        RuntimeError: it failed.
    """
    ended = run([*before, *RECHUB, *arguments, "-q"])
    if ended.code:
        raise RuntimeError(f"rechub {' '.join(map(str, arguments))}: exit {ended.code}\n{ended.err}")
    return ended


def train(
    spec: Path,
    *arguments: object,
    command: str = "train-ctr",
    folder: Path | None = None,
    before: Sequence[str] = (),
    **settings: object,
) -> dict[str, Any]:
    """Train into a temporary folder, or a new run of ``folder``: the run, its epochs, and what it cost.

    ``start_s``: seconds from the command's start to the beginning of the first epoch. ``epoch_s``: the quickest epoch.
    """
    beside = folder or Path(tempfile.mkdtemp(dir=os.environ.get("BENCH_RUNS")))
    run_folder = beside / f"run-{secrets.token_hex(4)}"
    overrides = [word for key, value in settings.items() for word in ("--set", f"{key.replace('__', '.')}={value}")]
    ended = rechub(command, spec, "-o", run_folder, *arguments, *overrides, before=before)
    with open(run_folder / "metrics.csv") as file:
        epochs = list(csv.DictReader(file))
    return {
        "run": run_folder,
        "epochs": len(epochs),
        "rows_per_s": max(float(epoch["rows_per_s"]) for epoch in epochs),
        "epoch_s": min(float(epoch["seconds"]) for epoch in epochs),
        "start_s": moment(run_folder, "model.ready") - ended.started,
        "total": ended.seconds,
        "anonymous_mb": ended.anonymous_mb,
        **ended.cost(),
    }


def moment(run_folder: Path, event: str) -> float:
    """When an event of a run was, in seconds since the epoch."""
    for line in (run_folder / "events.jsonl").read_text().splitlines():
        told = json.loads(line)
        if told["event"] == event:
            return datetime.datetime.fromisoformat(told["ts"]).timestamp()
    raise RuntimeError(f"{run_folder}: no event {event}")


def evaluate(run_folder: Path, data: Path) -> dict[str, float]:
    return json.loads(rechub("evaluate", run_folder, "--data", data, "--json").out)["metrics"]


def peer(python: Path, script: str, *arguments: object) -> dict[str, Any]:
    """One run of a peer's script: the values of its RESULT line."""
    return run([python, Path(__file__).parent / "peers" / f"{script}.py", *arguments]).result()
