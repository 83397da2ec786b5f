from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from fake_rows import FakeRows, chunk, spec

from rechub_cli.data.blocks import BLOCK_ROWS, Blocks
from rechub_cli.data.cache import build_or_open
from rechub_cli.data.encoder import Encoder
from rechub_cli.errors import CannotCreate, DataError, NoInput, RunFailed
from rechub_cli.workflows.cache import remove

FEATURES = {"a": {"type": "sparse"}, "x": {"type": "dense"}, "h": {"type": "sequence"}}


class CountedRows(FakeRows):
    reads = 0

    def tables(self, *args: Any, **options: Any) -> Any:
        self.reads += 1
        return super().tables(*args, **options)


def many(n: int, chunk_rows: int = 50_000) -> CountedRows:
    numbers = np.arange(n)
    offsets = np.concatenate([[0], np.cumsum(numbers % 3)]).astype(np.int32)
    history = pa.ListArray.from_arrays(pa.array(offsets), pa.array(np.arange(offsets[-1]) % 11))
    table = pa.table({"a": numbers % 1000, "x": numbers.astype(float), "h": history, "y": numbers % 4 == 0})
    rows = CountedRows(table, chunk_rows)
    rows.fingerprint = lambda: f"many {n}"  # type: ignore[method-assign]
    return rows


def fit(rows: FakeRows) -> Encoder:
    return Encoder.fit(spec(FEATURES, labels={"y": {}}), rows)


def read_all(blocks: Blocks) -> tuple[np.ndarray, np.ndarray]:
    rows, values = [], []
    with blocks.reader() as reader:
        for block in range(blocks.n_blocks):
            start, stop = blocks.block_range(block)
            out = np.empty((stop - start, blocks.layout.width), np.int32)
            reader.read(start, out)
            rows.append(out)
            values.append(np.empty(out[:, blocks.layout.lengths].sum(), np.int32))
            reader.read_values("h", start, out, values[-1])
    return np.concatenate(rows), np.concatenate(values)


@pytest.mark.parametrize("n", [1, BLOCK_ROWS - 1, BLOCK_ROWS, BLOCK_ROWS + 1, 2 * BLOCK_ROWS, 150_000])
@pytest.mark.parametrize("chunk_rows", [BLOCK_ROWS, 40_000, 1_000_000])
def test_what_was_encoded_is_read_back_whatever_the_chunks(tmp_path: Path, n: int, chunk_rows: int) -> None:
    rows = many(n, chunk_rows)
    encoder = fit(rows)
    blocks = build_or_open(tmp_path, rows, encoder)
    expected = encoder.encode(chunk(rows.table.slice(0, n).combine_chunks())) if n <= 262_144 else None
    assert expected is not None
    got, values = read_all(blocks)
    assert np.array_equal(got, expected.rows)
    assert np.array_equal(values, expected.values["h"])
    assert blocks.n_rows == n


def test_a_run_inside_a_block_is_read_with_its_own_values(tmp_path: Path) -> None:
    rows = many(100_000)
    blocks = build_or_open(tmp_path, rows, fit(rows))
    all_rows, all_values = read_all(blocks)
    first = all_rows[: BLOCK_ROWS + 1000, blocks.layout.lengths].sum()
    with blocks.reader() as reader:
        out = np.empty((500, blocks.layout.width), np.int32)
        reader.read(BLOCK_ROWS + 1000, out)
        values = np.empty(out[:, blocks.layout.lengths].sum(), np.int32)
        reader.read_values("h", BLOCK_ROWS + 1000, out, values)
    assert np.array_equal(out, all_rows[BLOCK_ROWS + 1000 : BLOCK_ROWS + 1500])
    assert np.array_equal(values, all_values[first : first + len(values)])


def test_the_same_rows_are_encoded_once(tmp_path: Path) -> None:
    rows = many(1000)
    encoder = fit(rows)
    rows.reads = 0
    seen: list[int] = []
    for _ in range(2):
        blocks = build_or_open(tmp_path, rows, encoder, seen.append)
    assert rows.reads == 1
    assert seen == [1000]
    assert blocks.stats.label_mean == {"y": 0.25}


def test_other_rows_or_another_encoder_have_a_cache_of_their_own(tmp_path: Path) -> None:
    rows = many(1000)
    folders = {build_or_open(tmp_path, rows, fit(rows)).folder}
    folders.add(build_or_open(tmp_path, many(999), fit(rows)).folder)
    folders.add(build_or_open(tmp_path, rows, fit(many(10))).folder)
    assert len(folders) == 3


def test_unseen_and_missing_shares_are_those_of_the_rows(tmp_path: Path) -> None:
    rows = many(1000)
    later = FakeRows(
        {"a": [1, 5000, None, 6000], "x": [1.0, None, 1.0, 1.0], "h": [[1], [99, 98], None, []], "y": [None] * 4}
    )
    stats = build_or_open(tmp_path, later, fit(rows)).stats
    assert stats.n_rows == 4
    assert {name: stats.unseen.get(name, 0) for name in "axh"} == {"a": 2, "x": 0, "h": 2}
    assert stats.missing == {"a": 1, "x": 1, "h": 0}
    assert stats.unseen_share("a") == 0.5
    assert np.isnan(stats.label_mean["y"])
    assert build_or_open(tmp_path, later, fit(rows)).stats.unseen == stats.unseen


class Bomb:
    """What unpickles as a call that no test survives."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os._exit, (70,)


def damage(folder: Path, how: str) -> None:
    header = folder / "header.json"
    state = json.loads(header.read_text())
    if how == "no header":
        header.unlink()
    elif how == "half a header":
        header.write_text(header.read_text()[:40])
    elif how == "a changed header":
        state["header"]["n_rows"] += 1
        header.write_text(json.dumps(state))
    elif how == "a header that is a list":
        header.write_text("[1]")
    elif how == "no rows":
        (folder / "rows.bin").unlink()
    elif how == "short rows":
        (folder / "rows.bin").write_bytes((folder / "rows.bin").read_bytes()[:-1])
    elif how == "short values":
        (folder / "sequence-0.bin").write_bytes(b"")
    elif how == "rows without an end":
        (folder / "rows.bin").unlink()
        (folder / "rows.bin").symlink_to("/dev/zero")
    elif how == "a pickle for a header":
        header.write_bytes(pickle.dumps(Bomb()))
    elif how == "a file in its place":
        shutil.rmtree(folder)
        folder.write_bytes(b"?")


@pytest.mark.parametrize(
    "how",
    [
        "no header",
        "half a header",
        "a changed header",
        "a header that is a list",
        "no rows",
        "short rows",
        "short values",
        "rows without an end",
        "a pickle for a header",
        "a file in its place",
    ],
)
def test_a_broken_cache_is_rebuilt(tmp_path: Path, how: str) -> None:
    rows = many(1000)
    encoder = fit(rows)
    blocks = build_or_open(tmp_path, rows, encoder)
    expected = read_all(blocks)
    damage(blocks.folder, how)
    got = read_all(build_or_open(tmp_path, rows, encoder))
    assert all(np.array_equal(one, two) for one, two in zip(expected, got, strict=True))


def test_flipped_bits_are_found_before_they_train(tmp_path: Path) -> None:
    rows = many(1000)
    blocks = build_or_open(tmp_path, rows, fit(rows))
    for name in ("rows.bin", "sequence-0.bin"):
        content = bytearray((blocks.folder / name).read_bytes())
        content[100] ^= 1
        (blocks.folder / name).write_bytes(content)
        with pytest.raises(RunFailed, match="was damaged"):
            read_all(blocks)
        read_all(build_or_open(tmp_path, rows, fit(rows)))  # rebuilt


def test_a_failed_build_leaves_nothing_behind(tmp_path: Path) -> None:
    rows = many(1000)
    encoder = fit(rows)
    bad = FakeRows({"a": [1, 2], "x": [1.0, 2.0], "h": [[1], [2]], "y": [0, 7]})
    with pytest.raises(DataError, match=r"row 2: label y is 7"):
        build_or_open(tmp_path, bad, encoder)
    with pytest.raises(NoInput, match="no rows"):
        build_or_open(tmp_path, FakeRows(rows.table.slice(0, 0)), encoder)
    assert [path for path in tmp_path.iterdir() if path.suffix != ".lock"] == []


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    rows = many(10)
    with pytest.raises(CannotCreate, match=r"cannot write .*file"):
        build_or_open(tmp_path / "file" / "cache", rows, fit(rows))


def build(folder: Path) -> None:
    rows = many(200_000)
    build_or_open(folder, rows, fit(rows))


def test_what_a_killed_build_left_is_in_nobody_s_way(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=build, args=(tmp_path,))
    process.start()
    while process.is_alive() and not list(tmp_path.glob("*.tmp")):
        pass
    process.kill()
    process.join()
    build(tmp_path)
    assert sorted(path.suffix for path in tmp_path.iterdir()) == ["", ".lock"]


def read_again_and_again(folder: Path) -> None:
    rows = many(1000)
    encoder = fit(rows)
    expected = None
    for _ in range(40):
        got = read_all(build_or_open(folder, rows, encoder))
        expected = expected or got
        time.sleep(0.01)  # nobody reads it now
        assert all(np.array_equal(one, two) for one, two in zip(expected, got, strict=True))


def test_who_reads_a_cache_is_not_disturbed_by_its_removal(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    readers = [context.Process(target=read_again_and_again, args=(tmp_path,)) for _ in range(2)]
    for process in readers:
        process.start()
    removed = 0
    while any(process.is_alive() for process in readers):
        for entry in tmp_path.iterdir():
            if entry.is_dir() and entry.suffix != ".pruned":
                removed += remove(entry)
    assert [process.exitcode for process in readers] == [0, 0]
    assert removed > 0
