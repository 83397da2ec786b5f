"""Training steps on a GPU, recorded once and started as one.

A step of a ranking model is some 150 small kernels, and a host takes several times as long to start them one by one as
the GPU takes to run them. Where every step does the very same to tensors of the same shapes, it is recorded as a CUDA
graph: what a replay computes is what the step would have.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from rechub_cli.batch import Batch, Jagged
from rechub_cli.optim.uncompiled import Uncompiled
from rechub_cli.trainers.batches import Rows, take
from rechub_cli.trainers.optimization import Optimization
from rechub_cli.trainers.watch import Watcher

WARM_UP = 3  # steps alike before one is recorded
SPARE = 8  # a record has room for one more of so many values of a sequence
_OURS = ("rechub_cli.models.", "rechub_cli.losses.")
_PARTS = ("sparse", "dense", "labels", "weights", "label_weights")


class Replay:
    """``learn(rows)``, replayed on a GPU where the step is sure to be the same operations every time.

    That takes a model and losses of rechub's own, or that say ``steady = True``; optimizers that keep everything on the
    device; and a learning rate that does not change with every batch. ``asleep`` switches it off. An epoch's last
    batch, which has fewer rows than the recorded ones, is learnt as if there were no record.
    The loss of a replay lies where the next one writes its own.

    Sequences have as many values as their rows happen to have. For models of rechub's own they are filled up with
    padding to one length (see ``Jagged.filled``), which grows where a batch has more; other models' rows have none.

    Args:
        learn: forward, backward, update; the loss, detached.
        steady: what else is known of the step: whether nothing in Python depends on values, or changes between steps.
    """

    def __init__(
        self,
        learn: Callable[[Rows], Tensor],
        model: nn.Module,
        optimization: Optimization,
        device: torch.device,
        watcher: Watcher,
        *,
        losses: list[Any],
        steady: bool = True,
    ) -> None:
        self.learn, self.optimization, self.device, self.watcher = learn, optimization, device, watcher
        self.asleep = not (
            steady
            and device.type == "cuda"
            and all(_is_steady(part) for part in (model, *losses))
            and all(isinstance(optimizer, Uncompiled) for optimizer in optimization.optimizers)
        )
        self.fills = _is_ours(model)
        self.room: dict[str, int] = {}  # values of each sequence in a record
        self.recorded: Any = None  # the graph,
        self.key: Any = None  # of steps like this,
        self.batch: Batch | None = None  # on these rows,
        self.loss: Tensor | None = None  # with this loss
        self._latest: Any = None
        self._alike = 0
        self._stream: Any = None

    def __call__(self, rows: Rows) -> Tensor:
        if self.asleep or rows.n < 2 or self.optimization.per_batch or not self._plain(rows.inputs):
            return self.learn(rows)
        self._make_room(rows.inputs)
        key = (*_shapes(rows.inputs), *self.room.items(), *self.optimization.settings())
        if key == self.key and self.batch is not None and self.loss is not None:
            _write(self.batch, rows.inputs)
            self.recorded.replay()
            return self.loss
        self._alike = self._alike + 1 if key == self._latest else 1
        self._latest = key
        batch = self._filled(rows.inputs)
        if self._alike <= WARM_UP:
            return self._aside(take(batch, batch.sparse.device))
        return self._record(batch, key)

    def _plain(self, inputs: Any) -> bool:
        """Whether the shapes of these rows say all of what a step does with them, once sequences are filled up."""
        plain = isinstance(inputs, Batch) and inputs.targets is None and inputs.seen is None
        return plain and (self.fills or not inputs.sequences)

    def _make_room(self, batch: Batch) -> None:
        for name, sequence in batch.sequences.items():
            values = sequence.values.shape[0]
            if values > self.room.get(name, -1):
                self.room[name] = values + values // SPARE + 1

    def _filled(self, batch: Batch) -> Batch:
        """A copy, with as many values of each sequence as there is room for: what a record goes on from."""
        parts: dict[str, Any] = {name: part.clone() for name, part in _parts(batch).items()}
        sequences = {
            name: Jagged(sequence.values.new_zeros(self.room[name]), sequence.offsets.clone(), filled=True)
            for name, sequence in batch.sequences.items()
        }
        filled = replace(batch, **parts, sequences=sequences, group=None)
        _write_sequences(filled, batch)
        return filled

    def _aside(self, rows: Rows) -> Tensor:
        """One step on the stream that will be recorded: what it leaves behind must not belong to another."""
        if self._stream is None:
            self._stream = torch.cuda.Stream(self.device)
        here, aside = torch.cuda.current_stream(self.device), self._stream
        aside.wait_stream(here)
        with torch.cuda.stream(aside):
            loss = self.learn(rows)
        here.wait_stream(aside)
        return loss

    def _record(self, batch: Batch, key: Any) -> Tensor:
        self.recorded = self.key = self.loss = None  # its memory first
        self.batch = batch
        rows = take(batch, batch.sparse.device)
        graph = torch.cuda.CUDAGraph()
        try:
            # Other threads may go on with what they do, such as decoding the next rows into page-locked memory.
            with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
                self.loss = self.learn(rows)
        except RuntimeError as error:
            self.asleep, self.batch = True, None
            said = str(error).splitlines()[0]
            text = f"the training step cannot be recorded on this GPU ({said}): its kernels are started one by one"
            self.watcher.on_message("warn", "warning", text, {})
            return self.learn(rows)
        self.recorded, self.key = graph, key
        graph.replay()
        return self.loss


def _is_ours(part: Any) -> bool:
    return getattr(part, "__module__", "").startswith(_OURS)


def _is_steady(part: Any) -> bool:
    return bool(getattr(part, "steady", _is_ours(part)))


def _parts(batch: Batch) -> dict[str, Tensor]:
    parts = {name: getattr(batch, name) for name in _PARTS}
    return {name: part for name, part in parts.items() if part is not None}


def _shapes(batch: Batch) -> list[Any]:
    return [(name, part.shape) for name, part in _parts(batch).items()]


def _write(batch: Batch, rows: Batch) -> None:
    """Put other rows of the same shapes into a batch."""
    for name, part in _parts(batch).items():
        part.copy_(getattr(rows, name))
    _write_sequences(batch, rows)


def _write_sequences(batch: Batch, rows: Batch) -> None:
    for name, sequence in rows.sequences.items():
        there, n = batch.sequences[name], sequence.values.shape[0]
        there.values[:n].copy_(sequence.values)
        there.values[n:].zero_()
        there.offsets.copy_(sequence.offsets)
