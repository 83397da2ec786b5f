"""What will not fit in memory is told before the system kills the process."""

from __future__ import annotations

from typing import Any

import pytest
from fake_rows import FakeRows, spec

from rechub_cli.data import fit, memory
from rechub_cli.data.encoder import Encoder
from rechub_cli.errors import RunFailed

ROWS = {"id": [f"value {i}" for i in range(10_000)], "x": list(range(10_000))}


def fitted(**options: Any) -> Encoder:
    features = {"id": {"type": "sparse", **options}, "x": {"type": "dense"}}
    return Encoder.fit(spec(features, embed_dim=8), FakeRows(ROWS))


def test_a_vocabulary_that_will_not_fit_is_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit, "available", lambda: 100_000)
    with pytest.raises(RunFailed, match=r"vocabularies need 0.0 GB more .* the largest are id: give them hash_buckets"):
        fitted()
    assert fitted(hash_buckets=100).schema["id"].vocab_size == 103


def test_the_limit_of_a_container_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 200 kB\nMemAvailable:   100 kB\n")
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "_CONTROL_GROUP", tmp_path)
    assert memory.available() == 102_400
    (tmp_path / "memory.max").write_text("90000\n")
    (tmp_path / "memory.stat").write_text("anon 50000\nfile 39000\n")
    assert memory.available() == 40_000
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "none")
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.available() is None


def test_memory_that_nobody_holds_is_given_back_between_chunks(monkeypatch):
    given_back = []

    class Pool:
        def release_unused(self):
            given_back.append(len(seen))

    monkeypatch.setattr(memory.pa, "default_memory_pool", Pool)
    seen = []
    monkeypatch.setattr(memory, "TIDY", 3)
    for chunk in memory.tidied(range(7)):
        seen.append(chunk)
    assert seen == list(range(7))
    assert given_back == [3, 6]
