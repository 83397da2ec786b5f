"""A few cases of each kind; ``make fuzz`` runs many."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(("kind", "cases"), [("specs", 40), ("files", 20), ("runs", 20)])
def test_broken_input_ends_in_a_documented_way(kind, cases, tmp_path):
    command = [
        sys.executable,
        str(Path(__file__).with_name("fuzz.py")),
        kind,
        "--cases",
        str(cases),
        "--found",
        tmp_path,
    ]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
