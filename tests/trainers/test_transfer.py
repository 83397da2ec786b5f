"""Batches arrive on the device in their order, with what they carry; on a GPU one copy ahead."""

import contextlib

import pytest
import torch

from rechub_cli.batch import Batch, Jagged
from rechub_cli.data.loader import Loader
from rechub_cli.trainers.transfer import to_device


def batches():
    for number in range(4):
        sequence = Jagged(torch.arange(number, dtype=torch.int32), torch.tensor([0, number]))
        yield Batch(torch.full((1, 2), number, dtype=torch.int32), torch.zeros(1, 0), {"s": sequence})


def test_on_a_cpu_a_loader_is_left_alone():
    items = [*batches(), "anything"]
    assert all(a is b for a, b in zip(to_device(items, torch.device("cpu")), items, strict=True))


class FakeStreams:
    """Stands for torch.cuda where there is no GPU: notes what is done, in order."""

    def __init__(self, monkeypatch):
        self.done = []
        monkeypatch.setattr(torch.cuda, "Stream", lambda device: "copies")
        monkeypatch.setattr(torch.cuda, "stream", lambda stream: contextlib.nullcontext())
        monkeypatch.setattr(torch.cuda, "Event", lambda: self)
        monkeypatch.setattr(torch.cuda, "current_stream", lambda device: self)
        monkeypatch.setattr(Batch, "pin_memory", lambda batch: batch)
        monkeypatch.setattr(Batch, "to", lambda batch, *place, **how: self.copy(batch, **how))
        monkeypatch.setattr(Batch, "record_stream", lambda batch, stream: self.keep(batch))

    def number(self, batch):
        return int(batch.sparse[0, 0])

    def keep(self, batch):
        self.done.append(f"keep {self.number(batch)}")

    def copy(self, batch, non_blocking):
        assert non_blocking
        self.done.append(f"copy {self.number(batch)}")
        return batch

    def record(self, stream):
        assert stream == "copies"

    def wait_event(self, event):
        self.done.append("wait")


def test_the_next_copy_starts_before_a_batch_is_worked_on(monkeypatch):
    streams = FakeStreams(monkeypatch)
    items = [next(batches()), *((batch, "carried") for batch in list(batches())[1:3]), "no batch"]
    found = []
    for item in to_device(items, torch.device("cuda")):
        found.append(item)
        streams.done.append("work")
    assert found[0].sparse.tolist() == [[0, 0]]
    assert [carried for _, carried in found[1:3]] == ["carried", "carried"]
    assert found[3] == "no batch"
    assert streams.done == [
        *("copy 0", "copy 1", "wait", "keep 0", "work"),
        *("copy 2", "wait", "keep 1", "work"),
        *("wait", "keep 2", "work", "wait", "work"),
    ]


def test_a_cache_makes_its_batches_ahead_for_a_gpu_alone(monkeypatch):
    FakeStreams(monkeypatch)
    here, ahead = list(batches()), list(batches())
    monkeypatch.setattr(Loader, "__iter__", lambda loader: iter(here))
    monkeypatch.setattr(Loader, "ahead", lambda loader: iter(ahead))
    loader = object.__new__(Loader)
    assert all(a is b for a, b in zip(to_device(loader, torch.device("cuda")), ahead, strict=True))
    assert all(a is b for a, b in zip(to_device(loader, torch.device("cpu")), here, strict=True))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_on_a_gpu_the_numbers_are_the_same():
    for moved, batch in zip(to_device(batches(), torch.device("cuda")), batches(), strict=True):
        assert moved.sparse.device.type == moved.sequences["s"].values.device.type == "cuda"
        assert torch.equal(moved.sparse.cpu(), batch.sparse)
        assert torch.equal(moved.sequences["s"].values.cpu(), batch.sequences["s"].values)


def test_a_batch_that_is_there_already_is_not_copied(monkeypatch):
    streams = FakeStreams(monkeypatch)
    there = [Batch(torch.zeros(1, 2, dtype=torch.int32, device="meta"), torch.zeros(1, 0, device="meta"))]
    monkeypatch.setattr(streams, "keep", lambda batch: None)
    assert list(to_device(there, torch.device("cuda"))) == there
    assert streams.done == ["wait"]
