"""Lists of values, compiled: some of many, one after the other."""

from __future__ import annotations

import ctypes
import functools

import numpy as np

from rechub_cli.kernels import loaded

_i64, _at = ctypes.c_int64, ctypes.c_void_p


def gather(values: np.ndarray, starts: np.ndarray, offsets: np.ndarray) -> np.ndarray | None:
    """``values[starts[i] : starts[i] + offsets[i + 1] - offsets[i]]`` for each of n lists, one after the other.

    None where there are no compiled loops, where these are not int32 values (N,) and int64 starts (n,) and offsets
    (n + 1,) as the loops take them, or where a list does not lie within the values.
    """
    loops = _loops()
    kinds = values.dtype, starts.dtype, offsets.dtype
    whole = all(part.ndim == 1 and part.flags.c_contiguous for part in (values, starts, offsets))
    if loops is None or kinds != (np.int32, np.int64, np.int64) or not whole or len(offsets) != len(starts) + 1:
        return None
    out = np.empty(int(offsets[-1]), np.int32)
    there = starts.ctypes.data, offsets.ctypes.data
    return out if loops.gather_lists(values.ctypes.data, len(values), *there, len(starts), out.ctypes.data) else None


@functools.cache
def _loops() -> ctypes.CDLL | None:
    return loaded(gather_lists=([_at, _i64, _at, _at, _i64, _at], ctypes.c_int))
