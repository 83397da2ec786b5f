"""Batches on their way to a GPU."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch

from rechub_cli.batch import Batch
from rechub_cli.data.loader import Loader


def to_device(items: Iterable[Any], device: torch.device) -> Iterator[Any]:
    """The items of a loader; on a GPU their Batch is there already when it is asked for.

    It is made ahead, where the loader can do so, and its copy, from page-locked memory and on a stream of its own, runs
    while the one before it is worked on. Whatever is no Batch, or ``(Batch, carried)``, passes as it is.
    """
    if device.type != "cuda":
        yield from items
        return
    if isinstance(items, Loader):
        items = items.ahead()
    copies = torch.cuda.Stream(device)
    before: tuple[Any, torch.cuda.Event] | None = None
    for item in items:
        sent = _send(item, device, copies)
        if before is not None:
            yield _arrived(*before, device)
        before = sent
    if before is not None:
        yield _arrived(*before, device)


def _send(item: Any, device: torch.device, copies: torch.cuda.Stream) -> tuple[Any, torch.cuda.Event]:
    """Start to copy; the event comes when the copy is done."""
    with torch.cuda.stream(copies):
        item = _with_batch(item, lambda batch: _moved(batch, device))
        done = torch.cuda.Event()
        done.record(copies)
    return item, done


def _moved(batch: Batch, device: torch.device) -> Batch:
    return batch.pin_memory().to(device, non_blocking=True) if batch.sparse.device.type == "cpu" else batch


def _arrived(item: Any, done: torch.cuda.Event, device: torch.device) -> Any:
    """Let the work that follows wait for the copy, and keep its memory as long as that work runs."""
    stream = torch.cuda.current_stream(device)
    stream.wait_event(done)
    _with_batch(item, lambda batch: batch.record_stream(stream))
    return item


def _with_batch(item: Any, change: Any) -> Any:
    if isinstance(item, Batch):
        return change(item)
    if isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], Batch):
        return change(item[0]), item[1]
    return item
