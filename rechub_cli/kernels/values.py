"""Values by their place, compiled: which of some distinct ones each of many is."""

from __future__ import annotations

import ctypes
import functools
import secrets

import numpy as np
import pyarrow as pa

from rechub_cli.kernels import loaded

_i64, _u64, _at = ctypes.c_int64, ctypes.c_uint64, ctypes.c_void_p
MOST = 2**31 - 1  # values
_TEXTS = (pa.large_string(), pa.large_binary())
_NUMBERS = (pa.int64(), pa.uint64(), pa.float64(), pa.timestamp("us"))  # of eight bytes, equal where these are


class ValueIndex:
    """Where each of some distinct values stands, none of them null: texts and bytes (large), or numbers of eight bytes.

    A float is neither -0.0 nor NaN.
    """

    def __init__(self, known: pa.Array) -> None:
        self.known = known
        self.seed = secrets.randbits(64)
        self._fill(len(known))

    @staticmethod
    def of(known: pa.Array) -> ValueIndex | None:
        """None where these are no such values, or there are no compiled loops."""
        return ValueIndex(known) if known.type in _TEXTS + _NUMBERS and len(known) < MOST and _loops() else None

    def places(self, values: pa.Array) -> np.ndarray:
        """int32: where each value, of the type of the known ones, stands among them; -1 where it is none, or null."""
        loops, out = _loops(), np.empty(len(values), np.int32)
        assert loops is not None
        if len(values):
            slots = (self.seed, self.slots.ctypes.data, self.size)
            loops.find_values(*_parts(values), len(values), *_parts(self.known), *slots, out.ctypes.data)
        if values.null_count:
            out[values.is_null().to_numpy(zero_copy_only=False)] = -1
        return out

    def add(self, values: pa.Array) -> np.ndarray:
        """int32: where each value, none of them null, stands among the known ones; those that are new come behind.

        Raises:
            OverflowError: there would be too many.
        """
        loops, n, n_known = _loops(), len(values), len(self.known)
        assert loops is not None
        if n + n_known >= MOST:
            raise OverflowError(f"{n_known + n:,} values")
        if 3 * (n_known + n) > 2 * self.size:
            self._fill(n_known + n)
        codes, first = np.empty(n, np.int32), np.empty(n, np.int64)
        if n:
            slots = (self.seed, self.slots.ctypes.data, self.size)
            out = codes.ctypes.data, first.ctypes.data
            found = loops.number_values(*_parts(values), n, *_parts(self.known), n_known, *slots, *out)
            if found:
                self.known = pa.concat_arrays([self.known, values.take(pa.array(first[:found]))])
        return codes

    def _fill(self, room: int) -> None:
        """A table for so many values, with those that are known."""
        loops = _loops()
        assert loops is not None
        self.size = 1 << (3 * room // 2).bit_length()
        self.slots = np.empty(self.size, np.uint64)
        loops.index_values(*_parts(self.known), len(self.known), self.seed, self.slots.ctypes.data, self.size)


def _parts(values: pa.Array) -> tuple[int | None, int | None]:
    """Where the offsets of texts lie, or None, and where the bytes of the values."""
    if values.type in _NUMBERS:
        _, data = values.buffers()
        return None, None if data is None else data.address + 8 * values.offset
    _, offsets, data = values.buffers()
    where = None if offsets is None else offsets.address + 8 * values.offset  # an empty array may have no buffers
    return where, None if data is None else data.address


@functools.cache
def _loops() -> ctypes.CDLL | None:
    return loaded(
        index_values=([_at, _at, _i64, _u64, _at, _i64], None),
        number_values=([_at, _at, _i64, _at, _at, _i64, _u64, _at, _i64, _at, _at], _i64),
        find_values=([_at, _at, _i64, _at, _at, _u64, _at, _i64, _at], None),
    )
