"""Batches for a model: rows encoded as they are read."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from itertools import chain, islice
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from rechub_cli import process
from rechub_cli.apart import Tell, apart
from rechub_cli.data.block import Block, RowEncoder, concatenate, take
from rechub_cli.data.blocks import BLOCK_ROWS
from rechub_cli.data.fit import CHUNK_ROWS
from rechub_cli.data.loader import WINDOW_BLOCKS
from rechub_cli.data.prefetch import prefetch
from rechub_cli.data.tally import Tally

if TYPE_CHECKING:
    from rechub_cli.batch import Batch
    from rechub_cli.data.chunk import Rows

_SPARE = 4  # batches that are ready ahead of the model
_BEGUN = 160 << 20  # bytes of encoded rows that may wait for a model that is still being loaded

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
