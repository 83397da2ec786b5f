"""Where a process keeps its memory; and it looks for garbage seldom while a command starts, as often as ever later."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

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


LARGE = """
import resource
from rechub_cli import process
process.keep_memory()
{before}
process.use_large_pages()
heap, large = False, 0
for line in open("/proc/self/smaps"):
    if "-" in line.split()[0]:
        heap = line.rstrip().endswith("[heap]")
    elif heap and line.startswith("Size:"):
        size = int(line.split()[1])
    elif heap and line.startswith("VmFlags:") and "hg" in line.split():
        large += size
print(large >> 10)
"""


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc" or not Path("/sys/kernel/mm/transparent_hugepage").exists(),
    reason="this system has no large pages, or a C library that is left alone",
)
@pytest.mark.parametrize(
    ("before", "least", "most"),
    [
        ("", 250, 256),
        ("resource.setrlimit(resource.RLIMIT_DATA, (200 << 20, 200 << 20))", 0, 0),  # a limit of the user's
    ],
)
def test_the_memory_of_steps_lies_in_large_pages(before, least, most):
    done = subprocess.run(
        [sys.executable, "-c", LARGE.format(before=before)], capture_output=True, text=True, check=True, timeout=120
    )
    assert least <= int(done.stdout) <= most
