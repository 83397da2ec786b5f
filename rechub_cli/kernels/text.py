"""Texts by their place, compiled: which of some distinct texts each of many is."""

from __future__ import annotations

import ctypes
import functools
import secrets

import numpy as np
import pyarrow as pa

from rechub_cli.kernels import library

_i64, _u64, _at = ctypes.c_int64, ctypes.c_uint64, ctypes.c_void_p
KINDS = (pa.large_string(), pa.large_binary())


class TextIndex:
    """Where each of some texts stands: Arrow's ``large_string`` or ``large_binary``, all distinct, none null."""

    def __init__(self, known: pa.Array) -> None:
        self.known = known
        self.seed = secrets.randbits(64)
        self.size = 1 << (3 * len(known) // 2).bit_length()
        self.slots = np.empty(self.size, np.uint64)
        loops = _loops()
        assert loops is not None
        loops.index_texts(*_parts(known), len(known), self.seed, self.slots.ctypes.data, self.size)

    @staticmethod
    def of(known: pa.Array) -> TextIndex | None:
        """None where these are no such texts, or there are no compiled loops."""
        return TextIndex(known) if known.type in KINDS and 0 < len(known) < 2**31 and _loops() else None

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


def _parts(texts: pa.Array) -> tuple[int, int | None]:
    """Where the offsets of the texts lie, and their bytes."""
    _, offsets, data = texts.buffers()
    return offsets.address + 8 * texts.offset, None if data is None else data.address


@functools.cache
def _loops() -> ctypes.CDLL | None:
    return library(
        index_texts=([_at, _at, _i64, _u64, _at, _i64], None),
        find_texts=([_at, _at, _i64, _at, _at, _u64, _at, _i64, _at], None),
    )
