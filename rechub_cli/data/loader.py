"""Batches for a model: shuffled reading of a cache."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator, Sequence
from itertools import accumulate, chain, islice, pairwise
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from rechub_cli import process
from rechub_cli.apart import Tell, apart
from rechub_cli.data.block import Block, RowEncoder, concatenate, take
from rechub_cli.data.blocks import BLOCK_ROWS, BlockReader, Blocks
from rechub_cli.data.fit import CHUNK_ROWS
from rechub_cli.data.prefetch import prefetch
from rechub_cli.data.tally import Tally
from rechub_cli.errors import DataError

if TYPE_CHECKING:
    from rechub_cli.batch import Batch
    from rechub_cli.data.chunk import Rows

WINDOW_BLOCKS = 4
_SPARE = 4  # batches that a StreamLoader has ready ahead of the model
_BEGUN = 160 << 20  # bytes of encoded rows that may wait for a model that is still being loaded
_TOGETHER, _MANY = 1 << 14, 64  # rows, and batches, that are made in one go


class Loader:
    """The rows of a cache as Batches of ``batch_size``; one thread reads ahead.

    The order of an epoch depends on (seed, epoch, rank, world) only: blocks in random order, each rank its own
    share of them, rows shuffled within windows of four blocks. Every rank gets the same number of steps. The last
    batch is the smaller one; a single row that would be left over joins the batch before it.
    """

    def __init__(
        self, blocks: Blocks, batch_size: int, *, shuffle: bool, seed: int = 0, rank: int = 0, world: int = 1
    ) -> None:
        self.blocks, self.batch_size, self.shuffle = blocks, batch_size, shuffle
        self.seed, self.rank, self.world = seed, rank, world
        n = blocks.n_rows
        if n < world:
            raise DataError(f"{n} rows cannot be shared by {world} processes")
        self.rows = (rank + 1) * n // world - rank * n // world  # of this rank
        fewest = n // world
        self.steps = -(-fewest // batch_size)
        if self.steps > 1 and fewest % batch_size == 1:
            self.steps -= 1
        self._epoch, self._step = 0, 0

    def __len__(self) -> int:
        """Steps of a whole epoch."""
        return self.steps

    def set_position(self, epoch: int, step: int = 0) -> None:
        """The next iteration gives the batches of ``epoch`` from ``step`` on; later ones go on with the epoch after."""
        self._epoch, self._step = epoch, step

    def __iter__(self) -> Iterator[Batch]:
        """Made by the thread that asks for them, with its others: one beside these would take a core from a model."""
        return _one_by_one(self._made())

    def ahead(self) -> Iterator[Batch]:
        """The same, made ahead by a thread, for a model that computes elsewhere."""
        return _one_by_one(prefetch(self._made()))

    def _made(self) -> Generator[list[Batch], None, None]:
        epoch, step = self._epoch, self._step
        self._epoch, self._step = epoch + 1, 0
        return self._batches(epoch, step)

    def _batches(self, epoch: int, step: int) -> Generator[list[Batch], None, None]:
        import torch

        from rechub_cli.data.batches import join, pick

        sizes = [self.batch_size] * self.steps
        sizes[-1] = self.rows - self.batch_size * (self.steps - 1)
        groups = _groups(sizes[step:])
        if not groups:
            return
        parts: list[Block] = []
        with contextlib.closing(prefetch(self._shuffled(epoch, step * self.batch_size), 1)) as windows:
            block, starts, order = next(windows)
            for group in groups:
                wanted = sum(group)
                while len(order) < wanted:
                    parts.append(take(block, starts, order))
                    wanted -= len(order)
                    block, starts, order = next(windows)
                chosen, order = order[:wanted], order[wanted:]
                if parts:
                    batch, parts = join(self.blocks.layout, [*parts, take(block, starts, chosen)]), []
                else:
                    batch = pick(block, starts, chosen, torch.get_num_threads())
                yield _split(batch, group)

    def _shuffled(self, epoch: int, skip: int) -> Iterator[tuple[Block, dict[str, np.ndarray], np.ndarray]]:
        """Each window's rows, where their values start, and the order of those that are left after ``skip`` rows.

        A window lies where the one before the last did.
        """
        layout = self.blocks.layout
        room = min(WINDOW_BLOCKS * BLOCK_ROWS, self.rows), layout.width
        buffers: list[tuple[np.ndarray, dict[str, np.ndarray]]] = [(np.empty(room, np.int32), {}) for _ in range(2)]
        with self.blocks.reader() as reader:
            for number, window in enumerate(self._windows(epoch)):
                n = sum(stop - start for start, stop in window)
                if skip >= n:
                    skip -= n
                    continue
                rows, held = buffers[number % 2]
                block = _read(reader, window, rows[:n], held)
                order = self._random(epoch, 1, number).permutation(n) if self.shuffle else np.arange(n)
                yield block, block.starts(), order[skip:]
                skip = 0

    def _windows(self, epoch: int) -> Iterator[list[tuple[int, int]]]:
        """Runs of rows (start, stop), each inside one block; a window's runs are read together."""
        blocks = np.arange(self.blocks.n_blocks)
        if self.shuffle:
            blocks = self._random(epoch, 0, 0, shared=True).permutation(blocks)
        n = self.blocks.n_rows
        first, last = self.rank * n // self.world, (self.rank + 1) * n // self.world  # places in the order of all
        window: list[tuple[int, int]] = []
        place = filled = 0
        for block in blocks.tolist():
            start, stop = self.blocks.block_range(block)
            low, high = max(first - place, 0), min(last - place, stop - start)
            place += stop - start
            if low >= high:
                continue
            if filled + high - low > WINDOW_BLOCKS * BLOCK_ROWS:
                yield window
                window, filled = [], 0
            window.append((start + low, start + high))
            filled += high - low
        if window:
            yield window

    def _random(self, epoch: int, purpose: int, number: int, shared: bool = False) -> np.random.Generator:
        own = () if shared else (self.rank, self.world)
        return np.random.default_rng([self.seed % 2**63, epoch, purpose, number, *own])


def _groups(sizes: list[int]) -> list[list[int]]:
    """Sizes of batches that are made together, in their order."""
    groups: list[list[int]] = []
    for size in sizes:
        if groups and len(groups[-1]) < _MANY and sum(groups[-1]) + size <= _TOGETHER:
            groups[-1].append(size)
        else:
            groups.append([size])
    return groups


def _one_by_one(groups: Generator[list[Batch], None, None]) -> Iterator[Batch]:
    with contextlib.closing(groups):
        for batches in groups:
            yield from batches


def _split(batch: Batch, sizes: list[int]) -> list[Batch]:
    return [batch.slice(stop - size, stop) for stop, size in zip(accumulate(sizes), sizes, strict=True)]


def _read(reader: BlockReader, window: list[tuple[int, int]], rows: np.ndarray, held: dict[str, np.ndarray]) -> Block:
    """The rows of a window, in ``rows``, and their values, in the arrays of ``held`` where these are long enough."""
    layout, at = reader.blocks.layout, 0
    pieces: list[tuple[int, np.ndarray]] = []
    for start, stop in window:
        pieces.append((start, rows[at : at + stop - start]))
        reader.read(*pieces[-1])
        at += stop - start
    values: dict[str, np.ndarray] = {}
    for place, name in enumerate(layout.sequences):
        counts = (int(piece[:, layout.lengths.start + place].sum(dtype=np.int64)) for _, piece in pieces)
        stops = list(accumulate(counts, initial=0))
        if name not in held or len(held[name]) < stops[-1]:
            held[name] = np.empty(stops[-1], np.int32)
        for (start, piece), (low, high) in zip(pieces, pairwise(stops), strict=True):
            reader.read_values(name, start, piece, held[name][low:high])
        values[name] = held[name][: stops[-1]]
    return Block(layout, rows, values)


_Encoded = tuple[Block, pa.Table | None]  # some rows, and their columns to keep


class StreamLoader:
    """Rows encoded as they are read, without a cache: ``(Batch, the kept columns)``.

    The Arrow columns named by ``keep`` travel beside their rows (None where none is asked for). ``shuffle`` draws each
    batch from a window of as many rows as the Loader's, which later rows refill; it depends on (seed, epoch) only.
    ``met`` counts what was met, ``rows`` are those so far.
    """

    def __init__(
        self,
        rows: Rows,
        encoder: RowEncoder,
        batch_size: int,
        *,
        keep: Sequence[str] = (),
        labels: bool,
        shuffle: bool = False,
        seed: int = 0,
    ) -> None:
        self.source, self.encoder, self.batch_size = rows, encoder, batch_size
        self.keep, self.labels, self.shuffle, self.seed = list(keep), labels, shuffle, seed
        self.met = Tally()  # so far, in this iteration
        self._epoch, self._step = 0, 0
        self._begun: Generator[_Encoded] | None = None

    def __len__(self) -> int:
        """Steps of a whole epoch; TypeError where only reading would tell."""
        n = self.source.count_rows()
        if n is None:
            raise TypeError("the number of rows is not known before they are read")
        return max(-(-n // self.batch_size) - (n % self.batch_size == 1 and n > 1), 0)

    @property
    def rows(self) -> int:
        return self.met.rows

    @property
    def unseen(self) -> dict[str, int]:
        return self.met.unseen

    @property
    def missing(self) -> dict[str, int]:
        return self.met.missing

    def set_position(self, epoch: int, step: int = 0) -> None:
        """The next iteration gives the batches of ``epoch`` from ``step`` on; later ones go on with the epoch after."""
        self._epoch, self._step = epoch, step

    def __iter__(self) -> Iterator[tuple[Batch, pa.Table | None]]:
        epoch, step = self._epoch, self._step
        self._epoch, self._step = epoch + 1, 0
        self.met = Tally()
        blocks, self._begun = self._begun or self._encoded(), None
        return prefetch(islice(self._batches(epoch, blocks), step, None), _SPARE)

    def begin(self) -> None:
        """Read and encode from now on what the next iteration gives, while a model is loaded: see ``apart``."""

        def work(_: Tell) -> Generator[_Encoded]:
            process.keep_memory()
            for block, kept in self._encoded():  # a slice would travel with all of its table
                yield block, None if kept is None else kept.take(np.arange(len(kept)))

        self._begun = apart(work, lambda: None, ahead=_BEGUN)

    def _encoded(self) -> Generator[_Encoded]:
        columns = [*self.encoder.columns, *(self.encoder.label_columns if self.labels else []), *self.keep]
        for chunk in self.source.tables(list(dict.fromkeys(columns)), CHUNK_ROWS):
            kept = chunk.table.select(self.keep) if self.keep else None
            yield self.encoder.encode(chunk, labels=self.labels), kept

    def _batches(self, epoch: int, blocks: Iterator[_Encoded]) -> Iterator[tuple[Batch, pa.Table | None]]:
        from rechub_cli.data.batches import join, pick

        layout, size = self.encoder.layout(self.labels), self.batch_size
        enough = size + min(size, 2)  # rows in sight when a batch is made, so that no single row is left for the last
        random = np.random.default_rng([self.seed % 2**63, epoch])
        waiting: _Encoded | None = None
        for found in chain(blocks, [None]):
            if found is not None:
                block, table = found
                self.met.add(block)
                if waiting is not None:
                    block = concatenate([waiting[0], block])
                    table = pa.concat_tables([waiting[1], table]) if table is not None else None
            elif waiting is not None:
                block, table = waiting
            else:
                return
            order, starts, at = np.arange(len(block)), block.starts(), 0
            if self.shuffle:
                order = random.permutation(order)
            reserve = WINDOW_BLOCKS * BLOCK_ROWS if self.shuffle and found is not None else 0
            while len(order) - at >= enough + reserve:
                taken = order[at : at + size]
                yield pick(block, starts, taken, 1), self._kept(table, taken)
                at += size
            waiting = take(block, starts, order[at:]), None if table is None else table.take(order[at:])
        if waiting is not None and len(waiting[0]):
            yield join(layout, [waiting[0]]), waiting[1]

    def _kept(self, table: pa.Table | None, rows: np.ndarray) -> pa.Table | None:
        if table is None:
            return None
        return table.take(rows) if self.shuffle else table.slice(rows[0], len(rows))
