from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from fake_rows import FakeRows, spec

from rechub_cli.batch import Batch
from rechub_cli.data.blocks import BLOCK_ROWS, Blocks
from rechub_cli.data.cache import build_or_open
from rechub_cli.data.encoder import Encoder
from rechub_cli.data.loader import Loader
from rechub_cli.data.stream_loader import StreamLoader
from rechub_cli.errors import DataError
from rechub_cli.kernels import lists

FEATURES = {"row": {"type": "dense", "transform": "none"}, "a": {"type": "sparse"}, "h": {"type": "sequence"}}


def table(n: int) -> pa.Table:
    numbers = np.arange(n)
    offsets = np.concatenate([[0], np.cumsum(numbers % 3)]).astype(np.int32)
    history = pa.ListArray.from_arrays(pa.array(offsets), pa.array(np.repeat(numbers % 100, numbers % 3)))
    return pa.table(
        {"row": numbers, "a": numbers % 7, "h": history, "y": numbers % 2, "w": numbers, "g": numbers // 10}
    )


def rows_of(n: int, chunk_rows: int = 100_000) -> FakeRows:
    rows = FakeRows(table(n), chunk_rows)
    rows.fingerprint = lambda: str(n)  # type: ignore[method-assign]
    return rows


def encoder_of(rows: FakeRows) -> Encoder:
    return Encoder.fit(spec(FEATURES, labels={"y": {}}, weight="w", group="g"), rows)


@pytest.fixture(scope="module")
def cached(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("cache")
    known: dict[int, Blocks] = {}

    def get(n: int) -> Blocks:
        if n not in known:
            rows = rows_of(n)
            known[n] = build_or_open(folder, rows, encoder_of(rows))
        return known[n]

    return get


def numbers(batches: Any) -> list[int]:
    return [int(number) for batch in batches for number in batch.dense[:, 0].tolist()]


def same(one: Batch, two: Batch) -> bool:
    return (
        torch.equal(one.sparse, two.sparse)
        and torch.equal(one.dense, two.dense)
        and all(
            torch.equal(part.values, two.sequences[name].values)
            and torch.equal(part.offsets, two.sequences[name].offsets)
            for name, part in one.sequences.items()
        )
    )


def check_row(batch: Batch, i: int) -> None:
    """All parts of a row belong together."""
    number = int(batch.dense[i, 0])
    assert batch.labels is not None
    assert batch.weights is not None
    assert batch.labels[i, 0] == number % 2
    assert batch.weights[i] == number
    history = batch.sequences["h"].slice(i, i + 1).values
    assert len(history) == number % 3
    assert len(set(history.tolist())) <= 1


def test_types_and_shapes_of_a_batch(cached: Any) -> None:
    batch = next(iter(Loader(cached(1000), 100, shuffle=False)))
    assert (batch.sparse.shape, batch.sparse.dtype) == ((100, 1), torch.int32)
    assert (batch.dense.shape, batch.dense.dtype) == ((100, 1), torch.float32)
    assert batch.labels is not None
    assert (batch.labels.shape, batch.labels.dtype) == ((100, 1), torch.float32)
    assert batch.weights is not None
    assert batch.weights.tolist() == list(range(100))
    assert batch.group is not None
    assert batch.group.dtype == torch.int64
    assert batch.group.diff().ne(0).sum() == 9
    assert batch.sequences["h"].values.dtype == torch.int32
    assert batch.sequences["h"].lengths.tolist() == [i % 3 for i in range(100)]


def test_without_shuffling_rows_come_in_order(cached: Any) -> None:
    assert numbers(Loader(cached(200_000), 4096, shuffle=False)) == list(range(200_000))


def test_a_shuffled_epoch_is_a_permutation_whose_rows_stay_whole(cached: Any) -> None:
    n = 5 * BLOCK_ROWS + 10
    batches = list(Loader(cached(n), 4096, shuffle=True, seed=1))
    order = numbers(batches)
    assert sorted(order) == list(range(n))
    assert np.abs(np.diff(order)).mean() > BLOCK_ROWS / 2  # neighbours come from all over the window
    for batch in (batches[0], batches[len(batches) // 2], batches[-1]):
        for i in (0, 7, len(batch) - 1):
            check_row(batch, i)


def test_the_order_is_a_pure_function_of_seed_and_epoch(cached: Any) -> None:
    def order(seed: int, epoch: int) -> list[int]:
        loader = Loader(cached(1000), 64, shuffle=True, seed=seed)
        loader.set_position(epoch)
        return numbers(loader)

    assert order(1, 0) == order(1, 0)
    assert len({tuple(order(seed, epoch)) for seed in (1, 2) for epoch in (0, 1)}) == 4


def test_iterating_again_goes_on_with_the_next_epoch(cached: Any) -> None:
    loader = Loader(cached(1000), 64, shuffle=True)
    first, second = numbers(loader), numbers(loader)
    assert first != second
    loader.set_position(1)
    assert numbers(loader) == second


@pytest.mark.parametrize("step", [0, 1, 40, 79, 80])
def test_an_epoch_can_be_taken_up_at_any_step(cached: Any, step: int) -> None:
    loader = Loader(cached(5 * BLOCK_ROWS + 10), 4096, shuffle=True)
    whole = list(loader)
    loader.set_position(0, step)
    rest = list(loader)
    assert len(rest) == len(whole) - step
    assert all(same(one, two) for one, two in zip(rest, whole[step:], strict=True))


@pytest.mark.parametrize(
    ("n", "size", "sizes"),
    [
        (1, 4, [1]),
        (4, 4, [4]),
        (5, 4, [5]),
        (6, 4, [4, 2]),
        (9, 4, [4, 5]),
        (8, 4, [4, 4]),
        (3, 1, [1, 1, 1]),
        (3, 100, [3]),
    ],
)
def test_a_single_row_that_is_left_over_joins_the_batch_before(
    cached: Any, n: int, size: int, sizes: list[int]
) -> None:
    loader = Loader(cached(n), size, shuffle=True)
    assert [len(batch) for batch in loader] == sizes
    assert len(loader) == len(sizes)
    rows = rows_of(n, chunk_rows=2)
    stream = StreamLoader(rows, encoder_of(rows), size, labels=True)
    assert [len(batch) for batch, _ in stream] == sizes
    assert len(stream) == len(sizes)


@pytest.mark.parametrize("world", [2, 3, 7])
@pytest.mark.parametrize("n", [100, 8193, 2 * BLOCK_ROWS + 1])
def test_ranks_share_all_rows_and_make_the_same_number_of_steps(cached: Any, world: int, n: int) -> None:
    for batch_size in (16, 1000):
        loaders = [Loader(cached(n), batch_size, shuffle=True, rank=rank, world=world) for rank in range(world)]
        parts = [[numbers([batch]) for batch in loader] for loader in loaders]
        assert {len(part) for part in parts} == {len(loaders[0])}
        assert sorted(number for part in parts for batch in part for number in batch) == list(range(n))
        assert [loader.rows for loader in loaders] == [sum(map(len, part)) for part in parts]


def test_fewer_rows_than_ranks_is_refused(cached: Any) -> None:
    with pytest.raises(DataError, match="3 rows cannot be shared by 4 processes"):
        Loader(cached(3), 2, shuffle=True, rank=0, world=4)


@pytest.mark.parametrize("shuffle", [False, True])
def test_batches_are_the_same_whoever_makes_them(cached: Any, monkeypatch: pytest.MonkeyPatch, shuffle: bool) -> None:
    blocks = cached(5 * BLOCK_ROWS + 2)  # two windows, with batches of both
    made = list(Loader(blocks, 1000, shuffle=shuffle))
    ahead = list(Loader(blocks, 1000, shuffle=shuffle).ahead())
    monkeypatch.setattr(lists, "_loops", lambda: None)
    plain = list(Loader(blocks, 1000, shuffle=shuffle))
    for others in (ahead, plain):
        assert len(others) == len(made)
        assert all(same(one, other) for one, other in zip(made, others, strict=True))


def test_an_epoch_leaves_the_rows_of_another_alone(cached: Any) -> None:
    blocks = cached(5 * BLOCK_ROWS + 2)
    loader = Loader(blocks, 4096, shuffle=True)
    apart = [list(Loader(blocks, 4096, shuffle=True)), list(loader)]  # the second one's memory is there for a third
    loader.set_position(0)
    together = list(zip(iter(loader), iter(loader), strict=True))
    assert all(same(one, other) for one, (other, _) in zip(apart[0], together, strict=True))
    loader.set_position(1)
    assert all(same(one, other) for one, (_, other) in zip(list(loader), together, strict=True))


def test_the_thread_ends_when_the_consumer_stops(cached: Any) -> None:
    before = threading.active_count()
    batches = iter(Loader(cached(200_000), 64, shuffle=True))
    next(batches)
    assert threading.active_count() == before + 1
    batches.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


def test_a_stream_gives_the_rows_of_the_cache_in_order_with_the_kept_columns(cached: Any) -> None:
    n = 200_001
    rows = rows_of(n, chunk_rows=70_000)
    stream = list(StreamLoader(rows, encoder_of(rows), 4096, keep=["row", "g"], labels=True))
    loader = list(Loader(cached(n), 4096, shuffle=False))
    assert all(same(one, two) for one, (two, _) in zip(loader, stream, strict=True))
    for batch, kept in stream:
        assert kept is not None
        assert kept.column_names == ["row", "g"]
        assert kept["row"].to_pylist() == batch.dense[:, 0].tolist()


def test_a_shuffled_stream_mixes_rows_and_keeps_them_whole() -> None:
    rows = rows_of(3000, chunk_rows=1000)
    loader = StreamLoader(rows, encoder_of(rows), 64, keep=["row"], labels=True, shuffle=True, seed=5)
    first = list(loader)
    order = numbers(batch for batch, _ in first)
    assert sorted(order) == list(range(3000))
    assert order != list(range(3000))
    assert {number // 1000 for number in order[:64]} == {0, 1, 2}, "a window spans chunks"
    for batch, kept in first[:3]:
        check_row(batch, 5)
        assert kept is not None
        assert kept["row"].to_pylist() == batch.dense[:, 0].tolist()
    assert numbers(batch for batch, _ in loader) != order
    loader.set_position(0, 10)
    assert numbers(batch for batch, _ in loader) == order[640:]


def test_a_stream_needs_no_labels_and_counts_what_it_met() -> None:
    rows = rows_of(10)
    encoder = encoder_of(rows)
    loader = StreamLoader(
        FakeRows({"row": [1, 2, None], "a": [1, None, 99], "h": [[1], [77], []]}), encoder, 2, labels=False
    )
    batches = [batch for batch, kept in loader if kept is None]
    assert [len(batch) for batch in batches] == [3]
    assert batches[0].labels is None
    assert batches[0].weights is None
    assert batches[0].group is None
    assert (loader.rows, loader.unseen["a"], loader.missing["a"], loader.missing["row"]) == (3, 1, 1, 1)
    assert loader.unseen["h"] == 1


def test_an_error_in_the_stream_reaches_the_consumer() -> None:
    rows = rows_of(10)
    encoder = encoder_of(rows)
    bad = FakeRows(table(10).set_column(3, "y", pa.array([0] * 9 + [5])))
    with pytest.raises(DataError, match=r"row 10: label y is 5"):
        list(StreamLoader(bad, encoder, 4, labels=True))


def test_a_stream_without_rows_gives_no_batch() -> None:
    rows = rows_of(10)
    assert list(StreamLoader(FakeRows(table(0)), encoder_of(rows), 4, labels=True)) == []
