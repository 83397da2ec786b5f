"""Work ahead of the consumer, in one background thread."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable
from typing import Any, TypeVar

T = TypeVar("T")
_END = object()
_PATIENCE = 10  # seconds


def prefetch(items: Iterable[T], depth: int = 2) -> Generator[T, None, None]:
    """The same items, made up to ``depth`` ahead by a thread; an error is raised where its item would have come.

    While the consumer works on an item, no more than ``depth`` later ones are made: an item may lie where the one
    ``depth`` + 1 before it did. The thread ends promptly when the consumer stops: at exhaustion, ``close()``, or an
    error of its own. One that is stuck in a read is left behind after a while; it cannot keep the process alive.
    """
    ready: queue.SimpleQueue[Any] = queue.SimpleQueue()
    free = threading.Semaphore(depth)
    stopped = threading.Event()

    def work() -> None:
        iterator = iter(items)
        try:
            while free.acquire() and not stopped.is_set():
                ready.put((next(iterator, _END), None))
        except BaseException as error:
            ready.put((None, error))
        finally:
            close = getattr(iterator, "close", None)
            if close is not None:
                close()

    thread = threading.Thread(target=work, name="rechub-prefetch", daemon=True)
    thread.start()
    try:
        while True:
            item, error = ready.get()
            if error is not None:
                raise error
            if item is _END:
                return
            free.release()
            yield item
    finally:
        stopped.set()
        free.release()
        thread.join(_PATIENCE)
