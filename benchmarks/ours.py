"""Our side of every comparison: the commands themselves, as processes, and what they wrote down."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RECHUB = [sys.executable, "-m", "rechub_cli"]


def rechub(*arguments: object) -> tuple[str, float]:
    """Standard output and wall seconds of one command; stops the benchmark where it fails."""
    started = time.perf_counter()
    done = subprocess.run([*RECHUB, *map(str, arguments), "-q"], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"rechub {' '.join(map(str, arguments))}: exit {done.returncode}\n{done.stderr}")
    return done.stdout.strip(), time.perf_counter() - started


def train(spec: Path, *arguments: object, command: str = "train-ctr", **settings: object) -> dict[str, object]:
    """Train into a temporary folder: the run, rows/s of its epochs, seconds of the loop and of the process."""
    run = Path(tempfile.mkdtemp(dir=os.environ.get("BENCH_RUNS"))) / "run"
    overrides = [word for key, value in settings.items() for word in ("--set", f"{key.replace('__', '.')}={value}")]
    _, total = rechub(command, spec, "-o", run, *arguments, *overrides)
    with open(run / "metrics.csv") as file:
        epochs = list(csv.DictReader(file))
    return {
        "run": run,
        "epochs": len(epochs),
        "rows_per_s": max(float(epoch["rows_per_s"]) for epoch in epochs),
        "total": total,
    }


def evaluate(run: Path, data: Path) -> dict[str, float]:
    return json.loads(rechub("evaluate", run, "--data", data, "--json")[0])["metrics"]


def peer(python: Path, library: str, *arguments: object) -> dict[str, object]:
    """One run of a peer's script: the values of its RESULT line."""
    script = Path(__file__).parent / "peers" / f"{library}.py"
    done = subprocess.run([python, script, *map(str, arguments)], capture_output=True, text=True)
    for line in done.stdout.splitlines():
        if line.startswith("RESULT "):
            return json.loads(line.removeprefix("RESULT "))
    raise SystemExit(f"{library} {arguments}: exit {done.returncode}\n{done.stderr[-2000:]}")
