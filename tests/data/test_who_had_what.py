from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from fake_rows import FakeRows, spec

from rechub_cli.data import interactions as room
from rechub_cli.data.catalogue import Catalogue
from rechub_cli.data.encoder import Encoder
from rechub_cli.data.interactions import Columns, Interactions, Tally
from rechub_cli.errors import DataError, RunFailed, SpecError

FEATURES = {"item": {"type": "sparse", "tower": "item"}}
LOG = {
    "user": ["u", "v", "u", None, "u", "v"],
    "item": ["b", "a", "a", "a", "b", "gone"],
    "click": [1, 0, 1, 1, 1, 1],
}


def catalogue(items: Any = ("a", "b", "c")) -> Catalogue:
    table = {"item": list(items)}
    return Catalogue.of(Encoder.fit(spec(FEATURES), FakeRows(table)), "item", FakeRows(table))


def build(log: Any = LOG, columns: Columns | None = None, chunk_rows: int = 100) -> tuple[Any, Any, Tally]:
    return Interactions.build([FakeRows(log, chunk_rows)], columns or Columns("item", "user"), catalogue())


def lists(interactions: Interactions, users: Any) -> list[list[int]]:
    seen = interactions.seen(pa.array(users))
    return [seen.slice(row, row + 1).values.tolist() for row in range(len(seen))]


@pytest.mark.parametrize("chunk_rows", [1, 2, 100])
def test_a_user_has_each_item_once_whatever_the_chunks(chunk_rows: int) -> None:
    found, counts, tally = build(chunk_rows=chunk_rows)
    assert lists(found, ["v", "u", "nobody", None, "u"]) == [[0], [0, 1], [], [], [0, 1]]
    assert counts.tolist() == [3, 2, 0]  # repeats and rows without a user count
    assert tally == Tally(n_rows=6, known=5, chosen=5, outside=1)
    assert tally.dropped == 1


def test_only_the_rows_whose_label_is_1_are_interactions() -> None:
    columns = Columns.of(spec(FEATURES, user="user", item="item", labels={"click": {}}))
    found, counts, tally = build(columns=columns)
    assert lists(found, ["v", "u"]) == [[], [0, 1]]
    assert counts.tolist() == [2, 2, 0]
    assert tally == Tally(n_rows=6, known=5, chosen=4, outside=1)


def test_a_rating_of_4_or_more_can_be_the_label() -> None:
    labels = {"liked": {"column": "rating", "positive": ">= 4"}}
    columns = Columns.of(spec(FEATURES, user="user", item="item", labels=labels))
    log = {"user": [1, 1, 1], "item": ["a", "b", "c"], "rating": [3, 4, None]}
    assert lists(build(log, columns)[0], [1]) == [[1]]


def test_a_label_that_is_a_number_does_not_say_what_was_chosen() -> None:
    with pytest.raises(SpecError, match=r"labels.stars: a regression does not say"):
        Columns.of(spec(FEATURES, item="item", labels={"stars": {"type": "regression"}}))


def test_a_spec_without_an_item_column_is_refused() -> None:
    with pytest.raises(SpecError, match="item is missing"):
        Columns.of(spec(FEATURES))


def test_without_a_user_column_items_are_still_counted() -> None:
    found, counts, _ = build(columns=Columns("item"))
    assert len(found) == 0
    assert counts.tolist() == [3, 2, 0]
    assert lists(found, ["u"]) == [[]]


def test_many_small_chunks_are_merged_on_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    log = {"user": random.integers(0, 40, 2000), "item": np.array(["a", "b", "c"])[random.integers(0, 3, 2000)]}
    whole = build(log)[0]
    monkeypatch.setattr(room, "_SMALLEST_MERGE", 16)
    pieces = build(log, chunk_rows=9)[0]
    users = list(range(41))
    assert lists(pieces, users) == lists(whole, users)
    expected = [sorted({"abc".index(i) for u, i in zip(*log.values(), strict=True) if u == user}) for user in users]
    assert lists(whole, users) == expected


def test_users_of_any_integer_width_are_the_same_users() -> None:
    log = {"user": pa.array([5, 2**40], pa.int64()), "item": ["a", "b"]}
    found = build(log)[0]
    assert lists(found, pa.array([5], pa.int8())) == [[0]]
    assert lists(found, pa.array([str(2**40)])) == [[1]]


def test_later_parts_add_to_what_users_have() -> None:
    train = build()[0]
    more = build({"user": ["new", "u", "v"], "item": ["c", "c", "a"]})[0]
    both = train.union(more)
    assert lists(both, ["u", "v", "new"]) == [[0, 1, 2], [0], [2]]
    assert lists(train, ["u", "v", "new"]) == [[0, 1], [0], []]
    assert lists(build(columns=Columns("item"))[0].union(more), ["u"]) == [[2]]


def test_users_of_another_kind_are_refused() -> None:
    dates = {"user": pa.array([1, 2], pa.date32()), "item": ["a", "b"]}
    with pytest.raises(DataError, match="give the same type"):
        build({"user": [1], "item": ["a"]})[0].union(build(dates)[0])


def test_the_matrix_has_a_row_for_each_user() -> None:
    matrix = build()[0].matrix
    assert matrix.offsets.tolist() == [0, 2, 3]
    assert matrix.values.tolist() == [0, 1, 0]
    assert matrix.values.dtype == torch.int32


def test_kept_interactions_fit_any_catalogue(tmp_path: Path) -> None:
    found = build()[0]
    found.save(tmp_path / "seen.parquet", catalogue())
    same = Interactions.load(tmp_path / "seen.parquet", catalogue())
    assert same.hash == found.hash
    today = Interactions.load(tmp_path / "seen.parquet", catalogue(["b", "new"]))
    assert lists(today, ["u", "v"]) == [[0], []]


def test_damaged_interactions_are_refused(tmp_path: Path) -> None:
    (tmp_path / "seen.parquet").write_bytes(b"PAR1")
    with pytest.raises(RunFailed, match=r"seen.parquet is damaged"):
        Interactions.load(tmp_path / "seen.parquet", catalogue())
