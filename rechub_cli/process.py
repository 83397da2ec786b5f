"""This process: the memory it keeps, and when Python looks for garbage in it."""

from __future__ import annotations

import ctypes
import gc
import sys

_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8  # glibc's <malloc.h>
_MADV_HUGEPAGE = 14  # Linux's <sys/mman.h>
_LARGE_PAGE, _LARGE_PAGES = 2 << 20, 256 << 20  # bytes: of one, and of all; what is not used costs nothing
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
    library = _c_library()
    if library is not None:
        library.mallopt(_M_ARENA_MAX, 1)
        library.mallopt(_M_MMAP_MAX, 0)
        library.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def use_large_pages() -> None:
    """Let what is asked for from now on lie in large pages, where the system gives them to those who ask.

    The tensors of a step come and go in some ten megabytes; in pages of 4 KB a processor forgets where the first of
    them lie before the last is read. ``keep_memory`` must come first, or the freed memory goes back to the system.
    """
    library = _c_library()
    if library is None:
        return
    library.malloc.restype, library.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    library.free.restype, library.free.argtypes = None, [ctypes.c_void_p]
    library.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    start = library.malloc(_LARGE_PAGES)
    if start is None:  # a limit of the user's on memory
        return
    first = -(-start // _LARGE_PAGE) * _LARGE_PAGE
    library.madvise(first, (start + _LARGE_PAGES) // _LARGE_PAGE * _LARGE_PAGE - first, _MADV_HUGEPAGE)
    library.free(start)


def _c_library() -> ctypes.CDLL | None:
    """glibc; None where the C library is another."""
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "mallopt") else None  # absent from musl
