"""Texts by their place, compiled: which of some distinct texts each of many is."""

from __future__ import annotations

import ctypes
import functools
import secrets

import numpy as np
import pyarrow as pa

from rechub_cli.kernels import loaded

_i64, _u64, _at = ctypes.c_int64, ctypes.c_uint64, ctypes.c_void_p
MOST = 2**31 - 1  # texts
KINDS = (pa.large_string(), pa.large_binary())


class TextIndex:
    """Where each of some texts stands: Arrow's ``large_string`` or ``large_binary``, all distinct, none null."""

    def __init__(self, known: pa.Array) -> None:
        self.known = known
        self.seed = secrets.randbits(64)
        self._fill(len(known))

    @staticmethod
    def of(known: pa.Array) -> TextIndex | None:
        """None where these are no such texts, or there are no compiled loops."""
        return TextIndex(known) if known.type in KINDS and len(known) < MOST and _loops() else None

    def places(self, texts: pa.Array) -> np.ndarray:
        """int32: where each text, of the type of the known ones, stands among them; -1 where it is none, or null."""
        loops, out = _loops(), np.empty(len(texts), np.int32)
        assert loops is not None
        if len(texts):
            slots = (self.seed, self.slots.ctypes.data, self.size)
            loops.find_texts(*_parts(texts), len(texts), *_parts(self.known), *slots, out.ctypes.data)
        if texts.null_count:
            out[texts.is_null().to_numpy(zero_copy_only=False)] = -1
        return out

    def add(self, texts: pa.Array) -> np.ndarray:
        """int32: where each text, none of them null, stands among the known ones; those that are new come behind.

        Raises:
            OverflowError: there would be too many.
        """
        loops, n, n_known = _loops(), len(texts), len(self.known)
        assert loops is not None
        if n + n_known >= MOST:
            raise OverflowError(f"{n_known + n:,} texts")
        if 3 * (n_known + n) > 2 * self.size:
            self._fill(n_known + n)
        codes, first = np.empty(n, np.int32), np.empty(n, np.int64)
        if n:
            slots = (self.seed, self.slots.ctypes.data, self.size)
            out = codes.ctypes.data, first.ctypes.data
            found = loops.number_texts(*_parts(texts), n, *_parts(self.known), n_known, *slots, *out)
            if found:
                self.known = pa.concat_arrays([self.known, texts.take(pa.array(first[:found]))])
        return codes

    def _fill(self, room: int) -> None:
        """A table for so many texts, with those that are known."""
        loops = _loops()
        assert loops is not None
        self.size = 1 << (3 * room // 2).bit_length()
        self.slots = np.empty(self.size, np.uint64)
        loops.index_texts(*_parts(self.known), len(self.known), self.seed, self.slots.ctypes.data, self.size)


def _parts(texts: pa.Array) -> tuple[int | None, int | None]:
    """Where the offsets of the texts lie, and their bytes."""
    _, offsets, data = texts.buffers()
    where = None if offsets is None else offsets.address + 8 * texts.offset  # an empty array may have no buffers
    return where, None if data is None else data.address


@functools.cache
def _loops() -> ctypes.CDLL | None:
    return loaded(
        index_texts=([_at, _at, _i64, _u64, _at, _i64], None),
        number_texts=([_at, _at, _i64, _at, _at, _i64, _u64, _at, _i64, _at, _at], _i64),
        find_texts=([_at, _at, _i64, _at, _at, _u64, _at, _i64, _at], None),
    )
