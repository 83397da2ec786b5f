"""What this machine can do: matrix products in float32 and bfloat16, and copies, with one thread and with all.

python ceilings.py
"""

from __future__ import annotations

import time
from collections.abc import Callable

from prepared import report

import torch  # isort: skip

from rechub_cli.trainers.precision import has_bf16

SIZE = 2048
COPY_BYTES = 256 * 1024**2


def best(work: Callable[[], object], repeats: int = 10) -> float:
    """Seconds of the quickest run, after one to warm up."""
    work()
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def product(kind: torch.dtype) -> float:
    """GFLOP/s of a large matrix product."""
    left, right = torch.randn(SIZE, SIZE, dtype=kind), torch.randn(SIZE, SIZE, dtype=kind)
    result = torch.empty(SIZE, SIZE, dtype=kind)
    return 2 * SIZE**3 / best(lambda: torch.mm(left, right, out=result)) / 1e9


def copy() -> float:
    """GB/s of a copy, read and written."""
    source, target = torch.ones(COPY_BYTES // 4), torch.empty(COPY_BYTES // 4)
    return 2 * COPY_BYTES / best(lambda: target.copy_(source)) / 1e9


found = {}
for threads in sorted({1, torch.get_num_threads()}):
    torch.set_num_threads(threads)
    found[f"gflops_fp32_{threads}"] = product(torch.float32)
    if has_bf16():
        found[f"gflops_bf16_{threads}"] = product(torch.bfloat16)
    found[f"copy_gbps_{threads}"] = copy()
report(threads=torch.get_num_threads(), **found)
