"""The recipe for every night runs as the page has it, and keeps its promises."""

import inspect
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_readme import ROOT, blocks

from rechub_cli.cli.app import make_app
from rechub_cli.cli.evaluate import evaluate
from rechub_cli.cli.training import FLAGS

SPEC = """\
data: {train: set-by-a-flag, split: {valid: 0.2}}
features:
  user: {type: sparse}
  item: {type: sparse}
labels: {click: {}}
model: {name: fm}
trainer: {n_epoch: 6, batch_size: 200, device: cpu, optimizer_params: {lr: 2e-2}}
"""

AGAINST = "against" in inspect.signature(evaluate).parameters
COMMANDS = {one.name for one in (*make_app().registered_commands, *make_app().registered_groups)}
pytestmark = pytest.mark.skipif(
    not ({"publish", "runs"} <= COMMANDS and "resume" in FLAGS and AGAINST),
    reason="needs publish, runs, --resume and evaluate --against",
)


def write_day(folder, day, *, upside_down=False):
    """Users of even numbers click; a few new ones come every day."""
    random = np.random.default_rng(day)
    user, item = random.integers(0, 40 + 2 * day, 2000), random.integers(0, 20, 2000)
    click = random.random(2000) < np.where((user % 2 == 0) ^ upside_down, 0.9, 0.1)
    part = folder / "log" / f"day=2026-03-{day:02d}"
    part.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"user": user, "item": item, "click": click.astype(int)}), part / "part.parquet")


def shell(folder, *arguments):
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RECHUB_")}
    done = subprocess.run(arguments, cwd=folder, env={**kept, "PATH": path, "OMP_NUM_THREADS": "1"}, timeout=300)
    return done.returncode


def test_a_model_goes_on_night_by_night_and_a_bad_night_changes_nothing(tmp_path):
    (script,) = [block for block in blocks(ROOT / "docs/daily.md", "sh") if block.startswith("#!/bin/sh")]
    (tmp_path / "nightly.sh").write_text(script)
    (tmp_path / "ctr.yaml").write_text(SPEC)
    for day in (1, 2, 3):
        write_day(tmp_path, day)
    first = ["rechub", "train-ctr", "ctr.yaml", "--train", "log/day={date-1..date}", "--date", "2026-03-02", "-q"]
    assert shell(tmp_path, *first, "-o", "runs/first") == 0
    assert shell(tmp_path, "rechub", "publish", "runs/first", "--as", "ctr/prod") == 0

    prod = tmp_path / "runs/ctr/prod"
    assert shell(tmp_path, "sh", "nightly.sh", "2026-03-04") == 0, (tmp_path / "nightly.log").read_text()
    assert prod.resolve().name == "nightly-2026-03-04"
    info = json.loads((prod / "run.json").read_text())
    assert info["init_from"]["run"] == "first"
    command = script[script.index("rechub train-ctr") : script.index("rechub evaluate")]
    assert shell(tmp_path, "sh", "-c", f"day=2026-03-04\n{command}") == 0
    assert json.loads((prod / "run.json").read_text()) == info  # done, so left as it is

    write_day(tmp_path, 3, upside_down=True)  # what the night learns from; the day after is as ever
    write_day(tmp_path, 4)
    assert shell(tmp_path, "sh", "nightly.sh", "2026-03-05") == 3
    assert prod.resolve().name == "nightly-2026-03-04"
