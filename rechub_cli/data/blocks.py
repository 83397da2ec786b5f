"""Encoded rows on disk, read into the caller's buffers, so that memory does not grow with the rows.

A cache is a folder: ``rows.bin`` (the row matrix, row after row), ``sequence-<k>.bin`` (int32 values, likewise) and
``header.json``. A block is 65,536 rows, the last one fewer; any run of rows inside a block can be read.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import zlib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rechub_cli.data.block import Layout
from rechub_cli.data.tally import Tally
from rechub_cli.errors import RunFailed
from rechub_cli.files import read_json, write_text

BLOCK_ROWS = 1 << 16
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Stats:
    """What the encoder met in these rows."""

    n_rows: int
    unseen: dict[str, int]  # by feature: values that training did not have
    missing: dict[str, int]  # by feature: nulls
    label_mean: dict[str, float]  # over the rows that have the label; NaN where none has
    empty: dict[str, int] = field(default_factory=dict)  # by sequence: rows that have none
    totals: dict[str, float] = field(default_factory=dict)  # by feature: as in a Block

    @property
    def met(self) -> Tally:
        return Tally(self.n_rows, self.unseen, self.missing, self.empty, self.totals)

    def unseen_share(self, name: str) -> float:
        return self.unseen.get(name, 0) / self.n_rows


@dataclass(slots=True, weakref_slot=True)
class Blocks:
    """The rows of one cache."""

    folder: Path
    layout: Layout
    n_rows: int
    starts: dict[str, list[int]]  # by sequence: where the values of each block start, and how many there are in all
    checksums: dict[str, list[int]]  # by file: CRC-32 of each block's part
    stats: Stats
    _checked: set[tuple[str, int]] = field(default_factory=set)

    @property
    def n_blocks(self) -> int:
        return -(-self.n_rows // BLOCK_ROWS)

    def block_range(self, block: int) -> tuple[int, int]:
        """The block's rows: start, stop."""
        return block * BLOCK_ROWS, min((block + 1) * BLOCK_ROWS, self.n_rows)

    def reader(self) -> BlockReader:
        return BlockReader(self)

    def save_header(self) -> None:
        header = {
            "format": FORMAT,
            "layout": asdict(self.layout),
            "n_rows": self.n_rows,
            "starts": self.starts,
            "checksums": self.checksums,
            "stats": asdict(self.stats),
        }
        write_text(self.folder / "header.json", json.dumps({"header": header, "checksum": _digest(header)}))

    @classmethod
    def open(cls, folder: Path) -> Blocks:
        """Raises ValueError, KeyError, TypeError or OSError where the cache is not whole."""
        state = read_json(folder / "header.json")
        header = state["header"]
        if state["checksum"] != _digest(header) or header["format"] != FORMAT:
            raise ValueError("the header is damaged or of another version")
        layout = Layout(**{**header["layout"], "sequences": tuple(header["layout"]["sequences"])})
        stats = Stats(**header["stats"])
        blocks = cls(folder, layout, header["n_rows"], header["starts"], header["checksums"], stats)
        sizes = {"rows.bin": blocks.n_rows * layout.width * 4}
        for place, name in enumerate(layout.sequences):
            sizes[values_file(place)] = blocks.starts[name][-1] * 4
        for file, size in sizes.items():
            if (folder / file).stat().st_size != size:
                raise ValueError(f"{file} is not {size} bytes long")
        return blocks

    def check(self, file: str, block: int, data: np.ndarray) -> None:
        """The first time a block is read: are these the bytes that were written?"""
        if (file, block) in self._checked:
            return
        if zlib.crc32(data.data) != self.checksums[file][block]:
            with contextlib.suppress(OSError):
                (self.folder / "header.json").unlink()  # so that the next run builds it anew
            raise RunFailed(f"the cache {self.folder} was damaged on disk; run again, and it is built anew")
        self._checked.add((file, block))


class BlockReader:
    """Reads rows of one cache; not for use by two threads at once."""

    def __init__(self, blocks: Blocks) -> None:
        self.blocks = blocks
        names = ["rows.bin", *(values_file(place) for place in range(len(blocks.layout.sequences)))]
        self._files = {name: (blocks.folder / name).open("rb", buffering=0) for name in names}

    def __enter__(self) -> BlockReader:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files.values():
            file.close()

    def read(self, start: int, out: np.ndarray) -> None:
        """Fill ``out`` int32 (n, width) with the rows from ``start``."""
        self._fill("rows.bin", start * self.blocks.layout.width * 4, out)
        if self._is_block(start, len(out)):
            self.blocks.check("rows.bin", start // BLOCK_ROWS, out)

    def read_values(self, name: str, start: int, rows: np.ndarray, out: np.ndarray) -> None:
        """Fill ``out`` int32 (N,) with the N values of ``rows``, which were read from ``start``."""
        layout, block = self.blocks.layout, start // BLOCK_ROWS
        place = layout.sequences.index(name)
        column = layout.lengths.start + place
        first = self.blocks.starts[name][block]
        if start % BLOCK_ROWS:  # the lengths of the block's earlier rows say how many values to skip
            before = np.empty((start % BLOCK_ROWS, layout.width), np.int32)
            self.read(block * BLOCK_ROWS, before)
            first += int(before[:, column].sum(dtype=np.int64))
        self._fill(values_file(place), first * 4, out)
        if self._is_block(start, len(rows)):
            self.blocks.check(values_file(place), block, out)

    def _is_block(self, start: int, n: int) -> bool:
        return (start, start + n) == self.blocks.block_range(start // BLOCK_ROWS)

    def _fill(self, name: str, position: int, out: np.ndarray) -> None:
        if out.size == 0:
            return
        file: Any = self._files[name]
        view, done = memoryview(out.data).cast("B"), 0
        file.seek(position)
        while done < len(view):
            n = file.readinto(view[done:])
            if not n:
                raise RunFailed(f"{file.name} ends early: the cache was changed while it was read; run again")
            done += n


def values_file(place: int) -> str:
    return f"sequence-{place}.bin"


def _digest(header: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(header, sort_keys=True).encode()).hexdigest()
