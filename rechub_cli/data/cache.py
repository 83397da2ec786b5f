"""The cache of encoded rows: built once for given rows and a given encoder, whole or not there."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from rechub_cli.data.block import Block, RowEncoder
from rechub_cli.data.blocks import BLOCK_ROWS, FORMAT, Blocks, Stats, values_file
from rechub_cli.data.cache_locks import hold, key_lock
from rechub_cli.data.fit import CHUNK_ROWS
from rechub_cli.data.memory import tidied
from rechub_cli.data.prefetch import prefetch
from rechub_cli.data.tally import Tally
from rechub_cli.errors import NoInput
from rechub_cli.files import begin_writing, creating, sync_folder

if TYPE_CHECKING:
    from rechub_cli.data.chunk import Rows


def build_or_open(
    folder: Path | str, rows: Rows, encoder: RowEncoder, progress: Callable[[int], None] | None = None
) -> Blocks:
    """The encoded ``rows``: from the cache where it has them, else encoded now and kept there.

    A cache that is not whole is built anew. Two processes that want the same rows build them once: the second waits.
    While what this returns lives, nobody prunes the cache.

    Raises:
        DataError: a bad value. NoInput: there are no rows. CannotCreate: the cache cannot be written.
    """
    key = hashlib.sha256(f"{FORMAT} {rows.fingerprint()} {encoder.hash}".encode()).hexdigest()[:24]
    target = Path(folder) / key
    with creating(folder):
        Path(folder).mkdir(parents=True, exist_ok=True)
    _sweep(Path(folder), target)
    with key_lock(target.with_suffix(".lock"), progress=progress):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            blocks = Blocks.open(target)
            os.utime(target / "header.json")  # when it was last used
            hold(blocks, target)
            return blocks
        temporary = target.with_suffix(".tmp")
        try:
            with creating(target):
                _remove(target)
                _remove(temporary)  # of a build that was killed
                temporary.mkdir()
            _build(temporary, rows, encoder, progress)
            with creating(target):
                temporary.rename(target)
            sync_folder(target.parent)
        finally:
            with contextlib.suppress(OSError):
                _remove(temporary)
        blocks = Blocks.open(target)
        hold(blocks, target)
        return blocks


def cache_keys(**loaders: Any) -> dict[str, str]:
    """The keys of the caches that loaders read, by the part they are for."""
    blocks = {part: getattr(loader, "blocks", None) for part, loader in loaders.items()}
    return {part: found.folder.name for part, found in blocks.items() if found is not None}


def _build(folder: Path, rows: Rows, encoder: RowEncoder, progress: Callable[[int], None] | None) -> None:
    columns = list(dict.fromkeys([*encoder.columns, *encoder.label_columns]))
    with contextlib.ExitStack() as stack:
        writer = _Writer(folder, encoder, stack)
        chunks = tidied(rows.tables(columns=columns, rows=CHUNK_ROWS))
        blocks = prefetch(map(encoder.encode, chunks))  # one is encoded while another is written
        for block in stack.enter_context(contextlib.closing(blocks)):
            writer.add(block)
            if progress:
                progress(writer.n_rows)
        if writer.n_rows == 0:
            raise NoInput("the data has no rows; check the files and the filter")
        writer.finish()
    pa.default_memory_pool().release_unused()


class _Writer:
    """Appends encoded rows to the files of a cache, block by block."""

    def __init__(self, folder: Path, encoder: RowEncoder, stack: contextlib.ExitStack) -> None:
        self.folder, self.layout, self.labels = folder, encoder.layout(), encoder.schema.labels
        sequences = self.layout.sequences
        names = ["rows.bin", *(values_file(place) for place in range(len(sequences)))]
        with creating(folder):
            self.files = {name: stack.enter_context((folder / name).open("wb", buffering=0)) for name in names}
        self.checksums: dict[str, list[int]] = {name: [] for name in names}
        self.starts: dict[str, list[int]] = {name: [0] for name in sequences}
        self.n_rows = 0
        self.met = Tally()
        self.label_sums = np.zeros(self.layout.n_labels)
        self.label_counts = np.zeros(self.layout.n_labels, np.int64)

    def add(self, block: Block) -> None:
        offsets = block.starts()
        at = 0
        while at < len(block):
            if self.n_rows % BLOCK_ROWS == 0:
                for checksums in self.checksums.values():
                    checksums.append(0)
                for starts in self.starts.values():
                    starts.append(starts[-1])
            stop = min(at + BLOCK_ROWS - self.n_rows % BLOCK_ROWS, len(block))
            self._write("rows.bin", block.rows[at:stop])
            for place, name in enumerate(self.layout.sequences):
                first, last = int(offsets[name][at]), int(offsets[name][stop])
                self._write(values_file(place), block.values[name][first:last])
                self.starts[name][-1] += last - first
            self.n_rows += stop - at
            at = stop
        self.met.add(block)
        given = ~np.isnan(block.labels)
        self.label_sums += np.where(given, block.labels, 0).sum(0, dtype=np.float64)
        self.label_counts += given.sum(0)

    def finish(self) -> None:
        with creating(self.folder):
            for file in self.files.values():
                os.fsync(file.fileno())
        with np.errstate(invalid="ignore"):
            means = dict(zip(self.labels, (self.label_sums / self.label_counts).tolist(), strict=True))
        met = self.met
        stats = Stats(self.n_rows, met.unseen, met.missing, means, met.empty, met.totals)
        Blocks(self.folder, self.layout, self.n_rows, self.starts, self.checksums, stats).save_header()

    def _write(self, name: str, data: np.ndarray) -> None:
        if data.size == 0:
            return
        view, file = memoryview(data.data).cast("B"), self.files[name]
        self.checksums[name][-1] = zlib.crc32(view, self.checksums[name][-1])
        start = file.tell()
        with creating(self.folder):
            while len(view):
                view = view[file.write(view) :]
        begin_writing(file, start, file.tell())


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _sweep(folder: Path, target: Path) -> None:
    """Remove what builds of other rows left when they were killed: those whose lock is free."""
    for left in folder.glob("*.tmp"):
        if left.stem != target.name:
            with contextlib.suppress(OSError), key_lock(left.with_suffix(".lock"), wait=False) as ours:
                if ours:
                    _remove(left)
