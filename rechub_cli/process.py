"""This process: the memory it keeps, and when Python looks for garbage in it."""

from __future__ import annotations

import gc
import sys

_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8  # glibc's <malloc.h>
_MANY = 100_000  # objects: fewer than a library makes while it is imported
_usual: tuple[int, int, int] | None = None


def postpone_collection() -> None:
    """Look for garbage seldom while libraries are imported: what they make stays, and looking takes 0.4 s."""
    global _usual
    if _usual is None:
        _usual = gc.get_threshold()
        gc.set_threshold(_MANY, *_usual[1:])


def resume_collection() -> None:
    """Look for garbage as often as ever, but not among what is there now, if it was postponed."""
    global _usual
    if _usual is not None:
        gc.freeze()
        gc.set_threshold(*_usual)
        _usual = None


def keep_memory() -> None:
    """Keep freed memory for what is asked for next, in one place for all threads.

    Otherwise each step faults in new pages, and the threads that decode and score give theirs back batch by batch.
    Nothing happens where the C library is not glibc, which settles the number of places when a second thread first asks
    for memory: call it early.
    """
    if sys.platform != "linux":
        return
    import ctypes

    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # absent from musl
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
