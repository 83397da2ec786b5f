"""Batches worked on side by side on a CPU, each by its own share of the threads.

Threads that share one batch wait for one another at the end of every operation. Where each has a batch of its own they
wait for nothing, and a thread that is held up, say by the one that decodes the next rows, holds up no other.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import nn

T = TypeVar("T")
U = TypeVar("U")
MOST = 4  # batches at a time: what they compute must all fit into memory


def at_a_time(model: nn.Module, device: torch.device) -> int:
    """Batches that a model in evaluation mode may see at once: one, unless it is known to keep nothing of a call."""
    ours = type(model).__module__.startswith("rechub_cli.models.")
    return min(torch.get_num_threads(), MOST) if ours and device.type == "cpu" else 1


def side_by_side(work: Callable[[T], U], items: Iterable[T], workers: int) -> Generator[U, None, None]:
    """``work`` of every item, in their order; ``workers`` of them at once.

    An error is raised where its result would have come. The caller's thread takes the items; until the iterator ends
    or is closed, every torch operation of this process has a worker's share of the threads.
    """
    if workers < 2:
        yield from map(work, items)
        return
    threads = torch.get_num_threads()
    torch.set_num_threads(threads // workers)
    pool = ThreadPoolExecutor(workers, thread_name_prefix="rechub-score")
    waiting: deque[Future[U]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            while len(waiting) > workers or (waiting and waiting[0].done()):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)
