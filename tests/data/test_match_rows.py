from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from fake_rows import FakeRows, spec

from rechub_cli.batch import Batch
from rechub_cli.data.cache import build_or_open
from rechub_cli.data.catalogue import Catalogue
from rechub_cli.data.encoder import Encoder
from rechub_cli.data.interactions import Columns, Interactions
from rechub_cli.data.loader import Loader
from rechub_cli.data.match import MatchEncoder, TargetRows, fit_catalogue
from rechub_cli.data.stream_loader import StreamLoader
from rechub_cli.errors import DataError

FEATURES = {
    "code": {"type": "sparse"},
    "item": {"type": "sparse", "tower": "item"},
    "past": {"type": "sequence", "shares": "item"},
}
SPEC = spec(FEATURES, user="code", item="item")
LABELLED = spec(FEATURES, user="code", item="item", labels={"click": {}})
LOG = {
    "code": [1, 2, 3, 1, 2],
    "item": ["a", "b", "c", "b", "a"],
    "past": [None, "a", "a|b", "a", "a|b|c"],
    "click": [1, 0, 1, None, 1],
}
COLUMNS = Columns.of(SPEC)


def catalogue(log: Any = LOG) -> tuple[Encoder, Catalogue]:
    encoder = Encoder.fit(SPEC, FakeRows(log))
    return encoder, Catalogue.of_log(encoder, "item", FakeRows(log))


def stream(encoder: Any, rows: Any, labels: bool = False) -> Batch:
    batches = [batch for batch, _ in StreamLoader(rows, encoder, 100, labels=labels)]
    assert len(batches) == 1
    return batches[0]


def clicks(**options: Any) -> TargetRows:
    return TargetRows(FakeRows(LOG), Columns.of(LABELLED), catalogue()[1], **options)


def codes(rows: TargetRows) -> list[int]:
    return [code for part in rows.tables(["code"]) for code in part.table["code"].to_pylist()]


def test_a_row_has_its_item_as_target_after_all_of_its_past() -> None:
    encoder, items = catalogue()
    batch = stream(MatchEncoder(encoder.of_tower("user"), items, item="item"), FakeRows(LOG))
    assert batch.targets is not None
    assert batch.targets.values.tolist() == [[0, 0], [1, 1], [2, 2], [1, 1], [3, 0]]
    assert batch.targets.lengths.tolist() == [1] * 5
    assert batch.sparse.shape == (5, 1)  # the item's own columns are the catalogue's
    assert batch.sequences["past"].lengths.tolist() == [0, 1, 2, 1, 3]


def test_a_past_comes_before_other_sequences_of_the_user() -> None:
    features = {"words": {"type": "sequence"}, **FEATURES}
    log = {**LOG, "words": ["x|y|z"] * 5}
    encoder = Encoder.fit(spec(features, item="item"), FakeRows(log))
    items = Catalogue.of_log(encoder, "item", FakeRows(log))
    batch = stream(MatchEncoder(encoder.of_tower("user"), items, item="item"), FakeRows(log))
    assert batch.targets is not None
    assert batch.targets.values[:, 0].tolist() == [0, 1, 2, 1, 3]


def test_a_target_that_is_not_in_the_catalogue_is_a_miss_of_evaluation() -> None:
    encoder, items = catalogue()
    log = {"code": [1, 2], "item": ["new", "c"], "past": ["a", None]}
    matcher = MatchEncoder(encoder.of_tower("user"), items, item="item")
    batch = stream(matcher, TargetRows(FakeRows(log), COLUMNS, items, known=False))
    assert batch.targets is not None
    assert batch.targets.values[:, 1].tolist() == [-1, 2]


def test_a_row_knows_what_its_user_had() -> None:
    encoder, items = catalogue()
    seen = Interactions.build([FakeRows(LOG)], COLUMNS, items)[0]
    matcher = MatchEncoder(encoder.of_tower("user"), items, user="code", seen=seen)
    batch = stream(matcher, FakeRows({"code": [2, 9, 3], "past": [None] * 3}))
    assert batch.targets is None
    assert batch.seen is not None
    assert batch.seen.lengths.tolist() == [2, 0, 1]
    assert batch.seen.values.tolist() == [0, 1, 2]
    assert list(batch.sequences) == ["past"]


def test_shuffled_batches_of_a_cache_keep_targets_seen_and_past_together(tmp_path: Path) -> None:
    n = 70_000
    code = np.arange(n) % 89
    text = np.array([f"i{i}" for i in range(89)])
    log = {"code": code, "item": text[code], "past": ["|".join(text[: c % 5]) for c in code]}
    rows = FakeRows(pa.table(log))
    encoder, items = catalogue(rows.table)
    seen = Interactions.build([rows], COLUMNS, items)[0]
    matcher = MatchEncoder(encoder.of_tower("user"), items, item="item", user="code", seen=seen)
    blocks = build_or_open(tmp_path, TargetRows(rows, COLUMNS, items), matcher)
    place_of = dict(zip(items.ids.to_pylist(), range(89), strict=True))
    first = encoder.encode(next(rows.tables(["code", "item", "past"]))).rows[:89, 0]
    number = dict(zip(first.tolist(), range(89), strict=True))  # id -> code
    met = 0
    for batch in Loader(blocks, 1000, shuffle=True, seed=3):
        assert batch.targets is not None
        assert batch.seen is not None
        given = [number[i] for i in batch.sparse[:, 0].tolist()]
        expected = [place_of[f"i{c}"] for c in given]
        assert batch.targets.values[:, 1].tolist() == expected
        assert batch.targets.values[:, 0].tolist() == [c % 5 for c in given]
        assert batch.sequences["past"].lengths.tolist() == [c % 5 for c in given]
        assert batch.seen.values.tolist() == expected
        assert batch.seen.lengths.tolist() == [1] * len(batch)
        met += len(batch)
    assert met == n


def test_values_shown_and_not_chosen_are_places() -> None:
    features = {**FEATURES, "shown": {"type": "sequence", "shares": "item", "role": "negatives"}}
    log = {**LOG, "shown": ["b|c", None, "gone", "c|gone|a", "b"]}
    encoder = Encoder.fit(spec(features, item="item"), FakeRows(log))
    items = Catalogue.of_log(encoder, "item", FakeRows(LOG))
    batch = stream(MatchEncoder(encoder.of_tower("user"), items, item="item"), FakeRows(log))
    assert batch.sequences["shown"].values.tolist() == [1, 2, 2, 0, 1]
    assert batch.sequences["shown"].lengths.tolist() == [2, 0, 0, 2, 1]
    assert batch.targets is not None
    assert batch.targets.values[:, 0].tolist() == [0, 1, 2, 1, 3]


def test_only_chosen_rows_with_an_item_of_the_catalogue_are_learnt_from() -> None:
    log = {**LOG, "item": ["a", "b", "c", "b", "new"]}
    rows = TargetRows(FakeRows(log, chunk_rows=2), Columns.of(LABELLED), catalogue()[1])
    assert codes(rows) == [1, 3]
    assert codes(TargetRows(FakeRows(log), Columns.of(LABELLED), catalogue()[1], chosen=False)) == [1, 2, 3, 1]
    assert codes(TargetRows(FakeRows(log), Columns.of(LABELLED), catalogue()[1], known=False)) == [1, 3, 2]


def test_a_row_without_an_item_is_no_query() -> None:
    log = {**LOG, "item": ["a", None, "new", None, "c"]}
    assert codes(TargetRows(FakeRows(log), COLUMNS, catalogue()[1], known=False)) == [1, 3, 2]


def test_the_number_of_rows_is_told_only_where_it_is_certain() -> None:
    assert clicks().count_rows() is None
    assert clicks(count=3).count_rows() == 3
    assert clicks(known=False).count_rows() is None
    assert clicks(known=False, chosen=False).count_rows() == 5


def test_a_cache_is_of_one_catalogue_one_choice_of_rows_and_one_set_of_seen_items() -> None:
    encoder, items = catalogue()
    other = Catalogue.of(encoder, "item", FakeRows({"item": ["b", "a", "c"]}))
    prints = {
        clicks().fingerprint(),
        clicks(chosen=False).fingerprint(),
        clicks(known=False).fingerprint(),
        TargetRows(FakeRows(LOG), Columns.of(LABELLED), other).fingerprint(),
        TargetRows(FakeRows(LOG), COLUMNS, catalogue()[1]).fingerprint(),
    }
    assert len(prints) == 5
    user = encoder.of_tower("user")
    seen = Interactions.build([FakeRows(LOG)], COLUMNS, items)[0]
    less = Interactions.build([FakeRows(pa.table(LOG).slice(0, 2))], COLUMNS, items)[0]
    hashes = {
        MatchEncoder(user, items, item="item").hash,
        MatchEncoder(user, other, item="item").hash,
        MatchEncoder(user, items).hash,
        MatchEncoder(user, items, item="item", user="code", seen=seen).hash,
        MatchEncoder(user, items, item="item", user="code", seen=less).hash,
    }
    assert len(hashes) == 5


def test_labels_travel_along_for_point_wise_training() -> None:
    encoder = Encoder.fit(LABELLED, FakeRows(LOG))
    items = Catalogue.of_log(encoder, "item", FakeRows(LOG))
    batch = stream(MatchEncoder(encoder.of_tower("user"), items, item="item"), clicks(chosen=False), labels=True)
    assert batch.labels is not None
    assert batch.labels[:, 0].nan_to_num(7).tolist() == [1, 0, 1, 7, 1]


def test_the_catalogue_of_a_run_comes_with_the_counts_of_its_training() -> None:
    encoder = Encoder.fit(LABELLED, FakeRows(LOG))
    found, interactions, tally = fit_catalogue(LABELLED, encoder, FakeRows(LOG))
    assert found.ids.to_pylist() == ["a", "b", "c"]
    assert found.counts.tolist() == [2, 0, 1]
    assert interactions.seen(pa.array([2, 1])).values.tolist() == [0, 0]
    assert tally.chosen == 3
    found, _, tally = fit_catalogue(LABELLED, encoder, FakeRows(LOG), FakeRows({"item": ["c", "b"]}))
    assert found.counts.tolist() == [1, 0]
    assert (tally.dropped, tally.chosen) == (2, 1)


def test_a_log_without_a_chosen_item_of_the_catalogue_is_refused() -> None:
    encoder = Encoder.fit(LABELLED, FakeRows(LOG))
    with pytest.raises(DataError, match=r"of 5 rows 2 have an item of the catalogue, and none of these is chosen"):
        fit_catalogue(LABELLED, encoder, FakeRows(LOG), FakeRows({"item": ["b"]}))


def test_a_missing_item_column_is_told() -> None:
    encoder, items = catalogue()
    matcher = MatchEncoder(encoder.of_tower("user"), items, item="item")
    with pytest.raises(DataError, match=r"there is no column item; columns there: code, past"):
        matcher.encode(next(FakeRows({"code": [1], "past": ["a"]}).tables()))
