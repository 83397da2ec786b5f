"""Python looks for garbage seldom while a command starts, and as often as ever once it works."""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = """
import gc
from rechub_cli import process
usual = gc.get_threshold()
{before}
during = gc.get_threshold()
from rechub_cli.trainers import runtime
runtime.prepare(); runtime.prepare()
print(during[0] > usual[0], gc.get_threshold() == usual, gc.get_freeze_count() > 0)
"""


@pytest.mark.parametrize(
    ("before", "said"),
    [
        ("process.postpone_collection(); process.postpone_collection()", "True True True"),
        ("", "False True False"),  # a program that uses the library keeps its own ways
    ],
)
def test_garbage_is_looked_for_as_before_once_training_is_prepared(before, said):
    done = subprocess.run(
        [sys.executable, "-c", CODE.format(before=before)], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.strip() == said
