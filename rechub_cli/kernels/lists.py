"""Rows and lists of values, compiled: some of many, one after the other."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Sequence

import numpy as np

from rechub_cli.kernels import loaded

_i64, _int, _at = ctypes.c_int64, ctypes.c_int, ctypes.c_void_p


def take_rows(rows: np.ndarray, order: np.ndarray, widths: Sequence[int], threads: int = 1) -> list[np.ndarray] | None:
    """``rows[order]``, cut into parts of so many columns, which are all of them: int32 (n, width) each.

    None where there are no compiled loops, where these are not int32 rows (N, columns) and an int64 order (n,) as the
    loops take them, or where there is no such row.
    """
    loops = _loops()
    whole = rows.flags.c_contiguous and order.flags.c_contiguous and (rows.ndim, order.ndim) == (2, 1)
    if loops is None or (rows.dtype, order.dtype) != (np.int32, np.int64) or not whole or sum(widths) != rows.shape[1]:
        return None
    n, count = len(order), len(widths)
    parts = [np.empty((n, width), np.int32) for width in widths]
    into = (_i64 * count)(*widths), (_at * count)(*(part.ctypes.data for part in parts))
    there = loops.take_rows(rows.ctypes.data, *rows.shape, order.ctypes.data, n, count, *into, threads)
    return parts if there else None


def gather(values: np.ndarray, starts: np.ndarray, offsets: np.ndarray, threads: int = 1) -> np.ndarray | None:
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
    found = loops.gather_lists(values.ctypes.data, len(values), *there, len(starts), out.ctypes.data, threads)
    return out if found else None


@functools.cache
def _loops() -> ctypes.CDLL | None:
    return loaded(
        take_rows=([_at, _i64, _i64, _at, _i64, _i64, _at, _at, _int], _int),
        gather_lists=([_at, _i64, _at, _at, _i64, _at, _int], _int),
    )
