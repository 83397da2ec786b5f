"""Exact search beside the bare matrix product with torch's top-k, in alternation; medians of five.

python search.py
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

from prepared import report

import torch  # isort: skip
from rechub_cli.nn.search import top_k


def timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


users, items = torch.randn(2048, 64), torch.randn(54_542, 64)
bare, ours = [], []
for _ in range(6):  # the first is for warming up
    bare.append(timed(lambda: torch.topk(users @ items.T, 100)))
    ours.append(timed(lambda: top_k(users, items, 100)))
report(bare_s=statistics.median(bare[1:]), ours_s=statistics.median(ours[1:]))
