"""Whole users for sequential models: every chosen event is a target, after the events strictly before it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from fake_rows import FakeRows, spec

from rechub_cli.batch import Batch
from rechub_cli.data.encoder import Encoder
from rechub_cli.data.history import EventStore
from rechub_cli.data.user_loader import UserLoader
from rechub_cli.errors import DataError, SpecError


def store_of(log: dict[str, Any], past: dict[str, Any] | None = None, **roles: Any) -> EventStore:
    features = {"item": {"type": "sparse"}, "past": {"type": "history", "of": "item", **(past or {})}}
    encoder = Encoder.fit(spec(features, user="user", time="time", **roles), FakeRows(log))
    places = [chr(97 + i) for i in range(26)]  # a is 0, b is 1, ...

    def place(items: pa.ChunkedArray) -> np.ndarray:
        return np.array([places.index(item) if item in places else -1 for item in items.to_pylist()])

    return EventStore.build(encoder, [FakeRows(log)], item="item", places=place)


def read(loader: UserLoader) -> list[str]:
    """Each row as ``abc: 1b 2c``: its sequence, and each target after how many events."""
    return [row for batch in loader for row in rows_of(batch)]


def rows_of(batch: Batch) -> list[str]:
    sequence, targets, found = batch.sequences["past"], batch.targets, []
    assert targets is not None
    for i in range(len(batch)):
        items = sequence.values[sequence.offsets[i] : sequence.offsets[i + 1]].tolist()
        pairs = targets.values[targets.offsets[i] : targets.offsets[i + 1]].tolist()
        said = "".join(chr(97 + item - 3) for item in items)  # equal counts: ids by value, from 3 on
        found.append(f"{said}: {' '.join(f'{n}{chr(97 + place)}' for n, place in pairs)}")
    return found


ANN = {"user": [1] * 6, "item": list("abcdef"), "time": [1, 2, 3, 3, 4, 5]}


@pytest.mark.parametrize(
    ("past", "windows", "expected"),
    [
        ({}, "last", ["abcde: 1b 2c 2d 4e 5f"]),  # c and d have one time: neither is before the other
        ({"max_len": 2}, "last", ["de: 1e 2f"]),
        ({"max_len": 2}, "all", ["a: 1b", "bc: 1c 1d", "de: 1e 2f"]),  # counted from the newest
        ({"max_len": 3}, "all", ["ab: 1b 2c 2d", "cde: 2e 3f"]),
        ({"lag": "1"}, "last", ["abcd: 1c 1d 2e 4f"]),
    ],
)
def test_the_prefixes_of_one_user(past: dict[str, Any], windows: Any, expected: list[str]) -> None:
    assert read(UserLoader(store_of(ANN, past), 4, windows=windows, shuffle=False)) == expected


def test_the_order_column_breaks_ties() -> None:
    log = {**ANN, "order": [0, 0, 2, 1, 0, 0]}
    assert read(UserLoader(store_of(log, order="order"), 4, shuffle=False)) == ["abdce: 1b 2d 3c 4e 5f"]


def test_a_condition_says_what_is_history_and_the_label_what_is_a_target() -> None:
    log = {**ANN, "click": [1, 1, 0, 1, 0, 1], "buy": [0, 0, 1, 1, 1, 0]}
    store = store_of(log, {"where": {"click": 1}}, labels={"buy": {}})
    assert read(UserLoader(store, 4, shuffle=False)) == ["abd: 2c 2d 3e"]


def test_items_outside_the_catalogue_are_no_targets() -> None:
    log = {**ANN, "item": ["a", "b", "c", "?", "e", "f"]}
    store = store_of(log)
    assert store.events.places is not None
    assert store.events.places.tolist() == [0, 1, 2, -1, 4, 5]
    batch = next(iter(UserLoader(store, 4, shuffle=False)))
    assert batch.targets is not None
    assert batch.targets.values.tolist() == [[1, 1], [2, 2], [4, 4], [5, 5]]
    assert len(batch.sequences["past"].values) == 5  # an event all the same


def random_store(seed: int = 0, max_len: int = 4) -> EventStore:
    random = np.random.default_rng(seed)
    log = {
        "user": random.integers(0, 30, 300).tolist(),
        "item": [chr(97 + i) for i in random.integers(0, 26, 300)],
        "time": random.integers(0, 40, 300).tolist(),
    }
    return store_of(log, {"max_len": max_len})


def test_windows_lose_no_target_and_each_has_its_own_prefix() -> None:
    store = random_store()
    loader = UserLoader(store, 7, windows="all", shuffle=False)
    times, users = store.events.times, store.events.users
    has_past = sum(bool(((users == users[i]) & (times < times[i])).any()) for i in range(len(store)))
    assert loader.n_targets == has_past
    newest = UserLoader(store, 7, windows="last", shuffle=False)
    assert set(read(newest)) <= set(read(loader))
    for batch in loader:
        lengths = batch.sequences["past"].lengths
        assert batch.targets is not None
        n_before = batch.targets.values[:, 0].long()
        assert lengths.max() <= 4
        assert n_before.min() >= 1
        assert (n_before <= lengths[batch.targets.rows]).all()


def test_an_epoch_is_a_permutation_that_can_be_resumed() -> None:
    store = random_store()
    plain = read(UserLoader(store, 7, shuffle=False))
    loader = UserLoader(store, 7, shuffle=True, seed=5)
    first, second = read(loader), read(loader)
    assert sorted(first) == sorted(second) == sorted(plain)
    assert len({tuple(plain), tuple(first), tuple(second)}) == 3
    loader.set_position(1, 2)
    assert read(loader) == second[2 * 7 :]
    assert read(UserLoader(store, 7, shuffle=True, seed=6)) != first


def test_ranks_share_the_rows() -> None:
    store = random_store()
    loaders = [UserLoader(store, 4, shuffle=True, rank=rank, world=3) for rank in range(3)]
    assert len({len(list(loader)) for loader in loaders}) == 1
    every = [row for loader in loaders for row in read(UserLoader(store, 4, shuffle=True, rank=loader.rank, world=3))]
    assert sorted(every) == sorted(read(UserLoader(store, 4, shuffle=False)))


def test_a_single_row_joins_the_batch_before_it() -> None:
    store = random_store()
    n = UserLoader(store, 4, shuffle=False).n_rows
    sizes = [len(batch) for batch in UserLoader(store, n - 1, shuffle=False)]
    assert sizes == [n]


def test_what_cannot_be_learnt_is_told() -> None:
    with pytest.raises(DataError, match="one event after another"):
        UserLoader(store_of({"user": [1, 2], "item": ["a", "b"], "time": [1, 1]}), 4, shuffle=False)
    features = {
        "item": {"type": "sparse"},
        "one": {"type": "history", "of": "item"},
        "two": {"type": "history", "of": "item", "where": {"time": 1}},
    }
    encoder = Encoder.fit(spec(features, user="user", time="time"), FakeRows(ANN))
    store = EventStore.build(encoder, [FakeRows(ANN)], item="item", places=lambda items: np.zeros(len(items), int))
    with pytest.raises(SpecError, match="one history"):
        UserLoader(store, 4, shuffle=False)
    assert UserLoader(store, 4, history="one", shuffle=False).n_targets == 5
