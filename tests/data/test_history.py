"""Histories: what a row sees of its user's past, checked by eye and against a plain loop."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from fake_rows import FakeRows, chunk, spec

from rechub_cli.data.encoder import Encoder
from rechub_cli.data.history import EventStore
from rechub_cli.data.kept import keep, reopen
from rechub_cli.errors import DataError, SpecError

FEATURES: dict[str, Any] = {"item": {"type": "sparse"}, "city": {"type": "sparse"}}
ROLES = {"user": "user", "time": "time"}
LOG = {
    "user": ["ann", "bob", "ann", "ann", "bob", "ann"],
    "item": ["a", "b", "c", "d", "e", "f"],
    "city": ["x", "y", "x", "y", "x", "y"],
    "time": [10, 10, 20, 20, 30, 40],
    "order": [1, 1, 2, 1, 1, 1],
    "click": [1, 0, 0, 1, 1, 1],
}


def encoder_of(past: dict[str, Any], log: dict[str, Any] = LOG, **roles: Any) -> Encoder:
    wanted = spec({**FEATURES, "past": {"type": "history", "of": "item", **past}}, **{**ROLES, **roles})
    return Encoder.fit(wanted, FakeRows(log))


def histories(encoder: Encoder, rows: dict[str, Any], feature: str = "past") -> list[str]:
    """The items (or cities) of each row's history, one after the other."""
    given = {**{name: [None] * len(rows["user"]) for name in ("item", "city")}, **rows}
    block = encoder.encode(chunk(given), labels=False)
    vocabulary = encoder.vocabularies[encoder.schema[feature].table]
    starts = block.starts()[feature]
    found = []
    for i in range(len(block)):
        ids = block.values[feature][starts[i] : starts[i + 1]] - vocabulary.first
        found.append("".join("?" if place < 0 else vocabulary.values[place].as_py() for place in ids.tolist()))
    return found


def past_of(past: dict[str, Any], log: dict[str, Any] = LOG, **roles: Any) -> list[str]:
    encoder = encoder_of(past, log, **roles)
    return histories(encoder.with_events(EventStore.build(encoder, [FakeRows(log, 2)])), log)


@pytest.mark.parametrize(
    ("past", "roles", "expected"),
    [
        ({}, {}, ["", "", "a", "a", "b", "acd"]),  # c and d have one time: neither is before the other
        ({}, {"order": "order"}, ["", "", "ad", "a", "b", "adc"]),
        ({"max_len": 2}, {}, ["", "", "a", "a", "b", "cd"]),  # the newest, oldest first
        ({"lag": "10"}, {}, ["", "", "", "", "b", "acd"]),  # strictly before the time less the lag
        ({"lag": "20s"}, {}, ["", "", "", "", "", "a"]),
        ({"lag": "10", "max_len": 2}, {"order": "order"}, ["", "", "", "", "b", "dc"]),
        ({"where": {"click": 1}}, {}, ["", "", "a", "a", "", "ad"]),
        ({"where": {"click": 1}, "max_len": 1}, {}, ["", "", "a", "a", "", "d"]),
        ({"where": {"city": ["x"], "click": 0}}, {}, ["", "", "", "", "", "c"]),
        ({"where": {"item": ["a", "b"]}}, {}, ["", "", "a", "a", "b", "a"]),
        ({"where": {"time": "> 10"}}, {}, ["", "", "", "", "", "cd"]),
    ],
)
def test_a_row_sees_what_is_before_it(past: dict[str, Any], roles: dict[str, Any], expected: list[str]) -> None:
    assert past_of(past, **roles) == expected


def test_the_columns_of_a_history_are_aligned() -> None:
    encoder = encoder_of({"of": ["item", "city"], "max_len": 2, "pooling": "none"})
    encoder = encoder.with_events(EventStore.build(encoder, [FakeRows(LOG)]))
    assert histories(encoder, LOG, "past.item") == ["", "", "a", "a", "b", "cd"]
    assert histories(encoder, LOG, "past.city") == ["", "", "x", "x", "y", "xy"]
    made = encoder.schema["past.city"]
    assert (made.history, made.shares, made.pooling, made.max_len) == ("past", "city", "none", 2)
    assert encoder.of_tower("user").schema["past.item"] == encoder.schema["past.item"]


def test_a_part_sees_no_later_part() -> None:
    encoder = encoder_of({})
    train = {name: values[:3] for name, values in LOG.items()}
    valid = {name: values[3:] for name, values in LOG.items()}
    log = EventStore.build(encoder, [FakeRows(train), FakeRows(valid)])
    late = {"user": ["ann", "bob"], "time": [99, 99]}
    assert histories(encoder.with_events(log.first(1)), late) == ["ac", "b"]
    assert histories(encoder.with_events(log), late) == ["acdf", "be"]
    assert encoder.with_events(log.first(1)).hash != encoder.with_events(log).hash  # no cache holds both


def test_strange_users_and_rows_without_a_time() -> None:
    log = {**LOG, "user": ["ann", None, "ann", "ann", None, "ann"]}
    encoder = encoder_of({}, log)
    encoder = encoder.with_events(EventStore.build(encoder, [FakeRows(log)]))
    assert histories(encoder, {"user": ["eve", None, "ann"], "time": [50, 50, 50]}) == ["", "", "acdf"]
    now = encoder.for_columns({"user", "item", "city"})
    assert "time" in encoder.columns
    assert "time" not in now.columns
    assert histories(now, {"user": ["ann", "eve"]}) == ["acdf", ""]


@pytest.mark.parametrize(
    ("users", "same"),
    [
        (pa.array([2**60, 2**60 + 1, 2**60]), pa.array([str(2**60), str(2**60 + 1), str(2**60)])),
        (pa.array([1, 2, 1]), pa.array([1.0, 2.0, 1.0])),
        (pa.array(["1", "2", "1"]), pa.array([1, 2, 1])),
        (pa.array(["1", "2", "1"]).dictionary_encode(), pa.array(["1", "2", "1"])),
    ],
)
def test_a_user_is_the_same_in_every_type(users: pa.Array, same: pa.Array) -> None:
    rest = {"item": ["a", "b", "c"], "city": ["x", "x", "x"], "time": [1, 1, 2]}
    encoder = encoder_of({}, {"user": users, **rest})
    encoder = encoder.with_events(EventStore.build(encoder, [FakeRows({"user": users, **rest})]))
    assert histories(encoder, {"user": same, "time": [3, 3, 3]}) == ["ac", "b", "ac"]


@pytest.mark.parametrize(
    ("log_times", "row_times"),
    [
        (["2026-01-01", "2026-01-01 12:00:00"], [datetime(2026, 1, 1, 6), datetime(2026, 1, 1, 12, 0, 1)]),
        ([5, 6], [5.5, 6.5]),
        ([5.25, 6.0], [6, 7]),
        (pa.array([5, 6], pa.timestamp("s")), pa.array([5500, 6001], pa.timestamp("ms"))),
        (pa.array([5, 6], pa.date32()), pa.array([6, 7], pa.date32())),
    ],
)
def test_times_of_other_types_are_compared_exactly(log_times: Any, row_times: Any) -> None:
    log = {"user": [1, 1], "item": ["a", "b"], "city": ["x", "x"], "time": log_times}
    encoder = encoder_of({}, log)
    encoder = encoder.with_events(EventStore.build(encoder, [FakeRows(log)]))
    assert histories(encoder, {"user": [1, 1], "time": row_times}) == ["a", "ab"]


def test_a_lag_counts_in_the_unit_of_moments() -> None:
    log = {"user": [1, 1], "item": ["a", "b"], "city": ["x", "x"], "time": ["2026-01-01 00:00", "2026-01-01 01:00:01"]}
    assert past_of({"lag": "1h"}, log) == ["", "a"]
    assert past_of({"lag": "61m"}, log) == ["", ""]


def test_what_does_not_fit_is_told() -> None:
    with pytest.raises(DataError, match=r"train\.csv, row 2: column time is null"):
        past_of({}, {**LOG, "time": [1, None, 3, 4, 5, 6]})
    with pytest.raises(DataError, match="cannot be seconds since 1970; give the lag in the unit of time"):
        past_of({"lag": "1h"}, {**LOG, "time": [1_700_000_000_000 + i for i in range(6)]})
    encoder = encoder_of({})
    encoder = encoder.with_events(EventStore.build(encoder, [FakeRows(LOG)]))
    with pytest.raises(DataError, match="time holds moments, and numbers in the log"):
        histories(encoder, {"user": ["ann"], "time": ["2026-01-01"]})
    with pytest.raises(SpecError, match="needs `user:` and `time:`"):
        Encoder.fit(spec({**FEATURES, "past": {"type": "history", "of": "item"}}), FakeRows(LOG))
    with pytest.raises(SpecError, match="no sparse feature reads column click"):
        encoder_of({"of": ["item", "click"]})


def random_log(seed: int, n: int = 400) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    return {
        "user": random.integers(0, 12, n).tolist(),
        "item": [chr(97 + i) for i in random.integers(0, 26, n)],
        "city": random.choice(["x", "y"], n).tolist(),
        "time": random.integers(0, 60, n).tolist(),
        "order": random.integers(0, 3, n).tolist(),
        "click": random.integers(0, 2, n).tolist(),
    }


@pytest.mark.parametrize("lag", [None, 7])
@pytest.mark.parametrize("ordered", [False, True])
def test_a_plain_loop_agrees(lag: int | None, ordered: bool) -> None:
    log = random_log(3)
    past = {"where": {"click": 1}, "max_len": 5} | ({"lag": str(lag)} if lag else {})
    rows = list(zip(*(log[name] for name in ("user", "time", "order", "click", "item")), strict=True))
    expected = []
    for user, time, order, *_ in rows:
        before = [
            (t, o if ordered else 0, place, item)
            for place, (u, t, o, click, item) in enumerate(rows)
            if u == user and click and (t < time - (lag or 0) or (ordered and not lag and t == time and o < order))
        ]
        expected.append("".join(item for *_, item in sorted(before)[-5:]))
    assert past_of(past, log, **({"order": "order"} if ordered else {})) == expected


def test_a_run_keeps_what_later_rows_see(tmp_path: Path) -> None:
    """After it is kept and read again, valid and test rows find the history that they had in training."""
    logs = [random_log(seed) for seed in (1, 2, 3)]
    for part, log in enumerate(logs):
        log["time"] = [100 * part + time for time in log["time"]]
    past = {"of": ["item", "city"], "where": {"click": 1}, "max_len": 4, "lag": "5"}
    encoder = encoder_of(past, logs[0])
    parts = [FakeRows(log) for log in logs]
    whole = EventStore.build(encoder, parts)
    kept = keep(whole, encoder, parts, tmp_path / "history" / "events.parquet")
    assert kept < len(whole) // 2
    for part in (1, 2):  # a part's own rows are events for each other
        then = encoder.with_events(whole.first(part + 1))
        again = encoder.with_events(reopen(tmp_path / "history" / "events.parquet", encoder, [parts[part]]))
        for feature in ("past.item", "past.city"):
            assert histories(again, logs[part], feature) == histories(then, logs[part], feature)
    late = {"user": list(range(12)), "time": [200 + 60] * 12}
    again = encoder.with_events(reopen(tmp_path / "history" / "events.parquet", encoder))
    assert histories(again, late, "past.item") == histories(encoder.with_events(whole), late, "past.item")


def test_newer_events_are_added_and_the_same_event_counts_once(tmp_path: Path) -> None:
    path = tmp_path / "events.parquet"
    encoder = encoder_of({})
    keep(EventStore.build(encoder, [FakeRows(LOG)]), encoder, [FakeRows(LOG)], path)
    overlapping = {
        "user": ["ann", "ann", "ann", "eve"],
        "item": ["f", "a", "a", "b"],
        "city": ["y", "x", "x", "y"],
        "time": [40, 50, 50, 50],  # the first is in the log already; ann has a twice at one time
    }
    events = reopen(path, encoder, [FakeRows(overlapping)])
    late = {"user": ["ann", "bob", "eve"], "time": [60, 60, 60]}
    assert histories(encoder.with_events(events), late) == ["acdfaa", "be", "b"]


def test_a_user_and_a_time_do_not_change_places(tmp_path: Path) -> None:
    log = {"user": [3, 7], "item": ["a", "a"], "city": ["x", "x"], "time": [7, 3]}
    encoder = encoder_of({}, log)
    keep(EventStore.build(encoder, [FakeRows(log)]), encoder, [FakeRows(log)], tmp_path / "events.parquet")
    newer = {name: values[1:] for name, values in log.items()}
    assert len(reopen(tmp_path / "events.parquet", encoder, [FakeRows(newer)])) == 2


def test_a_log_without_users_gives_empty_histories(tmp_path: Path) -> None:
    nobody = {**LOG, "user": pa.nulls(6, pa.string())}
    encoder = encoder_of({}, nobody)
    store = EventStore.build(encoder, [FakeRows(nobody)])
    assert histories(encoder.with_events(store), nobody) == [""] * 6
    keep(store, encoder, [FakeRows(nobody)], tmp_path / "events.parquet")
    assert histories(encoder.with_events(reopen(tmp_path / "events.parquet", encoder)), LOG) == [""] * 6


def test_the_encoder_comes_back_with_its_histories(tmp_path: Path) -> None:
    encoder = encoder_of({"where": {"click": [1]}, "lag": "5"})
    store = EventStore.build(encoder, [FakeRows(LOG)])
    encoder.with_events(store).save(tmp_path)
    again = Encoder.load(tmp_path)
    assert again.hash == encoder.hash
    assert again.columns == ["item", "city", "user", "time"]
    assert histories(again.with_events(store), LOG) == past_of({"where": {"click": 1}, "lag": "5"})
