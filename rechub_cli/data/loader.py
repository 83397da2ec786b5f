"""Batches for a model: shuffled reading of a cache."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

import numpy as np

from rechub_cli.data.block import Block, take
from rechub_cli.data.blocks import BLOCK_ROWS, BlockReader, Blocks
from rechub_cli.data.prefetch import prefetch
from rechub_cli.errors import DataError

if TYPE_CHECKING:
    from rechub_cli.batch import Batch

WINDOW_BLOCKS = 4
_TOGETHER, _MANY = 1 << 14, 64  # rows, and batches, that are made in one go


_Memory = tuple[np.ndarray, dict[str, np.ndarray]]  # of a window: rows, and the values of its sequences


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
        self._window = (WINDOW_BLOCKS if shuffle else 1) * BLOCK_ROWS  # rows
        # Of the windows of an epoch that is over: memory that is new to a process takes longer than the rows.
        self._memory: list[_Memory] = []

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
        room = min(self._window, self.rows), self.blocks.layout.width
        memory, self._memory = self._memory or [(np.empty(room, np.int32), {}) for _ in range(2)], []
        parts: list[Block] = []
        with contextlib.closing(prefetch(self._read_windows(epoch, step * self.batch_size, memory), 1)) as windows:
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
        self._memory = memory

    def _read_windows(
        self, epoch: int, skip: int, memory: list[_Memory]
    ) -> Iterator[tuple[Block, dict[str, np.ndarray], np.ndarray]]:
        """Each window's rows, where their values start, and the order of those that are left after ``skip`` rows.

        It lies in ``memory``, each in the place after the one before.
        """
        with self.blocks.reader() as reader:
            for number, window in enumerate(self._windows(epoch)):
                n = sum(stop - start for start, stop in window)
                if skip >= n:
                    skip -= n
                    continue
                rows, held = memory[number % len(memory)]
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
            if filled + high - low > self._window:
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
