"""CPU seconds of commands that should cost nothing: help, version, completion, a spec that is wrong."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from harness.process import run
from harness.records import Results
from harness.workplace import SPEEDS, Workplace

from measures.measure import Measure, Value

RECHUB = Path(sys.executable).parent / "rechub"
UNKNOWN_KEY = ("--set", "trainer.n_epochs=3")
UNKNOWN_COLUMN = ("--set", "group=sessionn")
WRONG_SPEC = 78


def completion() -> list[object]:
    """What the shell runs at a TAB behind ``rechub tr``."""
    words = ("_RECHUB_COMPLETE=complete_bash", "COMP_WORDS=rechub tr", "COMP_CWORD=1")
    return ["env", *words, RECHUB]


def small(place: Workplace, number: int) -> Results:
    data = place.dataset("criteo", "raw") / "train.parquet"
    with tempfile.TemporaryDirectory(dir=place.scratch) as folder:
        train = [RECHUB, "train-ctr", SPEEDS / "deepfm.yaml", "--train", data, "-o", os.path.join(folder, "run")]
        commands = {
            "help_s": ([RECHUB, "--help"], 0),
            "version_s": ([RECHUB, "version"], 0),
            "completion_s": (completion(), 0),
            "unknown_key_s": ([*train, *UNKNOWN_KEY], WRONG_SPEC),
            "unknown_column_s": ([*train, *UNKNOWN_COLUMN], WRONG_SPEC),
        }
        found: dict[str, float] = {"others": 0.0}
        for name, (command, code) in commands.items():
            ended = run(command)
            if ended.code != code:
                raise RuntimeError(f"{command}: exit {ended.code}, not {code}\n{ended.err}")
            found[name] = ended.cpu_seconds
            found["others"] = max(found["others"], ended.others)
    return {"rechub": found}


MEASURES = (
    Measure(
        "small",
        "Small commands",
        "seconds of CPU",
        small,
        (
            Value("help_s", "`rechub --help`", most=0.35, lower=True, digits=2),
            Value("version_s", "`rechub version`", most=0.35, lower=True, digits=2),
            Value("completion_s", "completion of a command", most=0.35, lower=True, digits=2),
            Value("unknown_key_s", "a spec with an unknown key", most=1.0, lower=True, digits=2),
            Value("unknown_column_s", "a spec that names a column the data lacks", most=1.0, lower=True, digits=2),
        ),
    ),
)
