"""Encoded rows on disk: read block by block into reused buffers, so that memory does not grow with the rows.

A cache is a folder: ``rows.bin`` (the row matrix, row after row), ``sequence-<k>.bin`` (int32 values), and
``header.json``, written last. A block is 65,536 rows; any run of rows inside a block can be read.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rechub_cli.data.block import Layout
from rechub_cli.data.encoder import Encoder
from rechub_cli.errors import NoInput, RunFailed
from rechub_cli.files import creating, sync_folder, write_text

if TYPE_CHECKING:
    from rechub_cli.data.chunk import Rows

BLOCK_ROWS = 1 << 16
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Stats:
    """What the encoder met in these rows."""

    n_rows: int
    unseen: dict[str, int]  # by feature: values that training did not have
    missing: dict[str, int]  # by feature: nulls
    label_mean: dict[str, float]  # over the rows that have the label; NaN where none has

    def unseen_share(self, name: str) -> float:
        return self.unseen.get(name, 0) / self.n_rows


@dataclass(slots=True)
class Blocks:
    """The rows of one cache."""

    folder: Path
    layout: Layout
    n_rows: int
    starts: dict[str, list[int]]  # by sequence: where the values of each block start, and their number at the end
    stats: Stats

    @property
    def n_blocks(self) -> int:
        return -(-self.n_rows // BLOCK_ROWS)

    def block_range(self, block: int) -> tuple[int, int]:
        return block * BLOCK_ROWS, min((block + 1) * BLOCK_ROWS, self.n_rows)

    def reader(self) -> BlockReader:
        return BlockReader(self)

    @classmethod
    def open(cls, folder: Path) -> Blocks:
        """Raises ValueError or OSError where the cache is not whole."""
        state = json.loads((folder / "header.json").read_text("utf-8"))
        header = state["header"]
        if state["checksum"] != _checksum(header) or header["format"] != FORMAT:
            raise ValueError("the header is damaged or of another version")
        layout = Layout(**{**header["layout"], "sequences": tuple(header["layout"]["sequences"])})
        blocks = cls(folder, layout, header["n_rows"], header["starts"], Stats(**header["stats"]))
        sizes = {"rows.bin": blocks.n_rows * layout.width * 4}
        for place, name in enumerate(layout.sequences):
            sizes[f"sequence-{place}.bin"] = blocks.starts[name][-1] * 4
        for file, size in sizes.items():
            if (folder / file).stat().st_size != size:
                raise ValueError(f"{file} is not {size} bytes long")
        return blocks


class BlockReader:
    """Reads rows of one cache; not for use by two threads at once."""

    def __init__(self, blocks: Blocks) -> None:
        self.blocks = blocks
        self._rows = (blocks.folder / "rows.bin").open("rb", buffering=0)
        self._values = {
            name: (blocks.folder / f"sequence-{place}.bin").open("rb", buffering=0)
            for place, name in enumerate(blocks.layout.sequences)
        }

    def __enter__(self) -> BlockReader:
        return self

    def __exit__(self, *_: object) -> None:
        for file in (self._rows, *self._values.values()):
            file.close()

    def read(self, start: int, out: np.ndarray) -> None:
        """Fill ``out`` int32 (n, width) with the rows from ``start``."""
        self._fill(self._rows, start * self.blocks.layout.width * 4, out)

    def read_values(self, name: str, start: int, rows: np.ndarray) -> np.ndarray:
        """The values of ``rows``, which were read from ``start``, a row of the same block."""
        layout = self.blocks.layout
        column = layout.lengths.start + layout.sequences.index(name)
        block_start = start - start % BLOCK_ROWS
        first = self.blocks.starts[name][start // BLOCK_ROWS]
        if start > block_start:  # the lengths of the block's earlier rows say how many values to skip
            before = np.empty((start - block_start, layout.width), np.int32)
            self.read(block_start, before)
            first += int(before[:, column].sum(dtype=np.int64))
        out = np.empty(int(rows[:, column].sum(dtype=np.int64)), np.int32)
        self._fill(self._values[name], first * 4, out)
        return out

    def _fill(self, file: Any, position: int, out: np.ndarray) -> None:
        view = memoryview(out).cast("B")
        file.seek(position)
        done = 0
        while done < len(view):
            n = file.readinto(view[done:])
            if not n:
                raise RunFailed(f"{file.name} ends early: the cache was changed while it was read; run again")
            done += n


def build_or_open(
    folder: Path | str, rows: Rows, encoder: Encoder, progress: Callable[[int], None] | None = None
) -> Blocks:
    """The encoded ``rows``: from the cache where it has them, else encoded now and kept there.

    Two processes that want the same rows build them once: the second waits for the first.

    Raises:
        DataError: a bad value. NoInput: there are no rows. CannotCreate: the cache cannot be written.
    """
    key = hashlib.sha256(f"{FORMAT} {rows.fingerprint()} {encoder.hash}".encode()).hexdigest()[:24]
    target = Path(folder) / key
    with creating(folder):
        Path(folder).mkdir(parents=True, exist_ok=True)
    with _lock(target.with_suffix(".lock")):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            blocks = Blocks.open(target)
            os.utime(target / "header.json")  # when it was last used
            return blocks
        temporary = target.with_suffix(".tmp")
        try:
            for stale in (target, temporary):
                shutil.rmtree(stale, ignore_errors=True)
            with creating(temporary):
                temporary.mkdir()
            _build(temporary, rows, encoder, progress)
            with creating(target):
                temporary.rename(target)
            sync_folder(target.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return Blocks.open(target)


def _build(folder: Path, rows: Rows, encoder: Encoder, progress: Callable[[int], None] | None) -> None:
    layout = encoder.layout()
    n_rows, unseen, missing = 0, dict[str, int](), dict[str, int]()
    sums, counts = np.zeros(layout.n_labels), np.zeros(layout.n_labels, np.int64)
    starts: dict[str, list[int]] = {name: [0] for name in layout.sequences}
    totals = dict.fromkeys(layout.sequences, 0)
    with contextlib.ExitStack() as stack:
        names = ["rows.bin", *(f"sequence-{place}.bin" for place in range(len(layout.sequences)))]
        with creating(folder):
            files = [stack.enter_context(open(folder / name, "wb", buffering=0)) for name in names]
        for chunk in rows.tables(columns=list(dict.fromkeys([*encoder.columns, *encoder.label_columns]))):
            block = encoder.encode(chunk)
            with creating(folder):
                for file, data in zip(files, [block.rows, *block.values.values()], strict=True):
                    _write(file, data)
            for name, offsets in block.starts().items():
                edges = np.arange(-n_rows % BLOCK_ROWS or BLOCK_ROWS, len(block) + 1, BLOCK_ROWS)
                starts[name] += (totals[name] + offsets[edges]).tolist()
                totals[name] += int(offsets[-1])
            for counted, new in ((unseen, block.unseen), (missing, block.missing)):
                for name, n in new.items():
                    counted[name] = counted.get(name, 0) + n
            given = ~np.isnan(block.labels)
            sums += np.where(given, block.labels, 0).sum(0, dtype=np.float64)
            counts += given.sum(0)
            n_rows += len(block)
            if progress:
                progress(n_rows)
        with creating(folder):
            for file in files:
                os.fsync(file.fileno())
    if n_rows == 0:
        raise NoInput("the data has no rows; check the files and the filter")
    for name, total in totals.items():
        if n_rows % BLOCK_ROWS:
            starts[name].append(total)
    with np.errstate(invalid="ignore"):
        means = dict(zip(encoder.schema.labels, (sums / counts).tolist(), strict=True))
    stats = Stats(n_rows, unseen, missing, means)
    header = {"format": FORMAT, "layout": asdict(layout), "n_rows": n_rows, "starts": starts, "stats": asdict(stats)}
    write_text(folder / "header.json", json.dumps({"header": header, "checksum": _checksum(header)}))


def _write(file: Any, data: np.ndarray) -> None:
    view = memoryview(np.ascontiguousarray(data)).cast("B")
    while len(view):
        view = view[file.write(view) :]


def _checksum(header: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(header, sort_keys=True).encode()).hexdigest()


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    import fcntl

    with contextlib.ExitStack() as stack:
        with creating(path):
            file = stack.enter_context(path.open("wb"))
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
