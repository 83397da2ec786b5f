"""An encoder that goes on from an earlier one: ids stay, counts add up, old ids leave when they are told to."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fake_rows import FakeRows, chunk, spec

from rechub_cli.data.encoder import Encoder
from rechub_cli.errors import DataError

SPARSE = {"type": "sparse"}


def days(columns: list[Any], tmp_path: Any, **options: Any) -> list[Encoder]:
    """One encoder after another, each kept and read back before the next goes on from it."""
    found: list[Encoder] = []
    for number, column in enumerate(columns):
        encoder = Encoder.fit(
            spec({"c": {**SPARSE, **options}}), FakeRows({"c": column}), earlier=found[-1] if found else None
        )
        encoder.save(tmp_path / str(number))
        found.append(Encoder.load(tmp_path / str(number)))
        assert found[-1].hash == encoder.hash
    return found


def ids(encoder: Encoder, column: Any) -> list[int]:
    return encoder.encode(chunk({"c": column}), labels=False).rows[:, 0].tolist()


def test_old_ids_stay_and_new_ones_come_behind_them_by_falling_frequency(tmp_path: Any) -> None:
    first, second, third = days([["b", "a", "a"], ["c", "d", "d", "b", "b", "b"], ["e", None]], tmp_path)
    assert ids(first, ["a", "b", "c"]) == [3, 4, 2]
    assert ids(second, ["a", "b", "d", "c"]) == [3, 4, 5, 6]  # b is the most frequent by now, and stays where it was
    assert ids(third, ["a", "b", "d", "c", "e"]) == [3, 4, 5, 6, 7]
    assert len({first.hash, second.hash, third.hash}) == 3
    assert third.vocabularies["c"].counts.tolist() == [2, 4, 2, 1, 1]


def test_a_rare_value_goes_on_counting_and_enters_when_it_is_frequent_enough(tmp_path: Any) -> None:
    first, second, third = days([["a", "a", "rare"], ["new", "a"], ["rare", "a"]], tmp_path, min_count=2)
    assert [ids(encoder, ["a", "rare", "new"]) for encoder in (first, second)] == [[3, 2, 2], [3, 2, 2]]
    assert ids(third, ["a", "rare", "new"]) == [3, 4, 2]


def test_max_vocab_holds_for_old_and_new_together(tmp_path: Any) -> None:
    _, second = days([["a"], ["b", "b", "c"]], tmp_path, max_vocab=2)
    assert ids(second, ["a", "b", "c"]) == [3, 4, 2]


def test_a_day_without_news_changes_nothing(tmp_path: Any) -> None:
    first, second = days([[1, 2, 2], [2, 1]], tmp_path)
    assert first.hash == second.hash


def test_a_column_may_change_its_type_where_the_values_are_the_same(tmp_path: Any) -> None:
    _, second = days([[5, 5, 6], ["6", "7"]], tmp_path)
    assert ids(second, [5, 6, 7]) == [3, 4, 5]
    with pytest.raises(DataError, match="column c: value x has no counterpart among the int64 values of the run"):
        Encoder.fit(spec({"c": SPARSE}), FakeRows({"c": ["x"]}), earlier=second)
    nothing, something = days([pa.nulls(2), [7, 7, 8]], tmp_path)
    assert ids(something, [7, 8]) == [3, 4]
    assert nothing.schema["c"].vocab_size == 3


def test_all_vocabularies_grow_those_that_are_shared_and_those_of_moments_too() -> None:
    features = {
        "item": SPARSE,
        "hist": {"type": "sequence", "shares": "item"},
        "ts": {"type": "datetime", "parts": ["date"]},
        "bucket": {**SPARSE, "hash_buckets": 5},
    }

    def rows(item: int, hist: list[int], day: int) -> FakeRows:
        return FakeRows({"item": [item], "hist": [hist], "ts": [day * 86_400], "bucket": [item]})

    first = Encoder.fit(spec(features), rows(1, [2], 0))
    second = Encoder.fit(spec(features), rows(3, [4, 4], 1), earlier=first)
    block = second.encode(next(rows(1, [2, 4, 3], 0).tables()), labels=False)
    assert block.rows[0, 0] == 3
    assert block.values["hist"].tolist() == [4, 5, 6]
    assert second.schema["ts.date"].vocab_size == 5
    assert second.schema["bucket"].vocab_size == first.schema["bucket"].vocab_size


def test_features_keep_their_order_whatever_that_of_the_spec_is_and_new_ones_come_last() -> None:
    rows = FakeRows({"a": [1], "b": [2], "c": [3]})
    first = Encoder.fit(spec({"a": SPARSE, "b": SPARSE}), rows)
    second = Encoder.fit(spec({"c": SPARSE, "b": SPARSE, "a": SPARSE}), rows, earlier=first)
    assert [feature.name for feature in second.schema.features] == ["a", "b", "c"]


@pytest.mark.parametrize("kind", ["seconds", "moments", "milliseconds"])
def test_an_id_leaves_when_it_was_not_met_for_so_many_days_of_the_time_column(kind: str, tmp_path: Any) -> None:
    features: dict[str, Any] = {
        "c": {**SPARSE, "expire": 3, "min_count": 2},
        "list": {"type": "sequence", "shares": "c"},
    }
    if kind == "milliseconds":
        features["t"] = {"type": "datetime", "unit": "ms"}

    def rows(day: int, *values: str, listed: list[str] | None = None) -> FakeRows:
        time: Any = np.full(len(values), day * 86_400 + 5)
        if kind == "moments":
            time = pa.array(time).cast(pa.timestamp("s"))
        if kind == "milliseconds":
            time = time * 1000
        return FakeRows({"c": list(values), "t": time, "list": [listed or []] * len(values)})

    encoder, vocabulary = None, []
    for day, values in enumerate(["aabb", "bbcc", "bb", "bb", "bbdd", "bb"]):
        listed = ["c"] if day == 4 else None
        encoder = Encoder.fit(spec(features, time="t"), rows(day, *values, listed=listed), earlier=encoder)
        encoder.save(tmp_path / str(day))
        encoder = Encoder.load(tmp_path / str(day))
        known = encoder.vocabularies["c"]
        vocabulary.append("".join(known.values.slice(0, known.size).to_pylist()))
    assert vocabulary == ["ab", "abc", "abc", "abc", "bcd", "bcd"]  # c was in a list on day 4
    kept = pq.read_table(next((tmp_path / "5").glob("*.parquet"))).to_pydict()
    assert kept["last_seen"] == [date(1970, 1, 6), date(1970, 1, 5), date(1970, 1, 5)]
    assert kept["id"] == [3, 4, 5]


def test_without_a_time_column_the_day_of_a_run_is_that_of_its_rows(tmp_path: Any) -> None:
    features = {"c": {**SPARSE, "expire": 2}}

    def fit(earlier: Encoder | None, day: int, *values: str, **options: Any) -> Encoder:
        wanted = spec({"c": {**features["c"], **options}})
        return Encoder.fit(wanted, FakeRows({"c": list(values)}), earlier=earlier, today=date(2026, 1, day))

    first = fit(None, 1, "a", "b")
    second = fit(first, 3, "b")
    assert second.vocabularies["c"].values.to_pylist() == ["a", "b"]
    assert fit(second, 4, "b").vocabularies["c"].values.to_pylist() == ["b"]
    assert fit(second, 4, "b", expire=None).vocabularies["c"].values.to_pylist() == ["a", "b"]
    before = Encoder.fit(spec({"c": SPARSE}), FakeRows({"c": ["a"]}))  # nobody wrote down when
    assert fit(before, 9, "b").vocabularies["c"].values.to_pylist() == ["a", "b"]


def test_a_time_that_tells_no_day_is_a_clear_error() -> None:
    wanted = spec({"c": {**SPARSE, "expire": 2}}, time="t")
    with pytest.raises(DataError, match=r"train.csv, row 2: t is 1764000000000, which is no number of s since 1970"):
        Encoder.fit(wanted, FakeRows({"c": [1, 2], "t": [1, 1_764_000_000_000]}))


def numbers(statistics: str, **options: Any) -> dict[str, Any]:
    return {"x": {"type": "dense", "statistics": statistics, **options}}


def test_statistics_are_frozen_or_go_on_over_all_rows(tmp_path: Any) -> None:
    random = np.random.default_rng(1)
    one, two = random.normal(3, 2, 1000), random.normal(30, 9, 500)
    both = Encoder.fit(spec(numbers("frozen")), FakeRows({"x": np.concatenate([one, two])})).transforms["x"]
    first = Encoder.fit(spec(numbers("frozen")), FakeRows({"x": one}))
    frozen = Encoder.fit(spec(numbers("frozen")), FakeRows({"x": two}), earlier=first)
    assert frozen.transforms == first.transforms
    assert frozen.hash == first.hash
    for earlier in (first, frozen):
        earlier.save(tmp_path)
        onward = Encoder.fit(spec(numbers("continue")), FakeRows({"x": two}), earlier=Encoder.load(tmp_path))
        if earlier is first:
            assert onward.transforms["x"].shift == pytest.approx(both.shift, rel=1e-6)
            assert onward.transforms["x"].scale == pytest.approx(both.scale, rel=1e-6)
        else:
            assert onward.moments["x"].count == 2000  # what came while they were frozen counts too


def test_bins_and_quantiles_stay_as_they_were_fitted() -> None:
    options = {"transform": "quantile", "embedding": "piecewise_linear", "n_bins": 4}
    first = Encoder.fit(spec(numbers("frozen", **options)), FakeRows({"x": np.arange(100.0)}))
    second = Encoder.fit(spec(numbers("frozen", **options)), FakeRows({"x": np.arange(500.0, 900.0)}), earlier=first)
    assert second.schema == first.schema
    assert second.transforms == first.transforms


def test_an_encoder_of_before_is_read_and_goes_on(tmp_path: Any) -> None:
    """Its file has no moments and its vocabularies no days; what it encodes keeps its hash."""
    features = {"c": SPARSE, **numbers("frozen")}
    encoder = Encoder.fit(spec(features), FakeRows({"c": ["a"], "x": [1.0]}))
    encoder.save(tmp_path)
    state = json.loads((tmp_path / "encoder.json").read_text())
    del state["moments"]
    assert state["format"] == 1
    assert "expire" not in json.dumps(state["features"])
    (tmp_path / "encoder.json").write_text(json.dumps(state))
    again = Encoder.load(tmp_path)
    assert again.hash == encoder.hash
    later = Encoder.fit(spec(features), FakeRows({"c": ["b"], "x": [5.0]}), earlier=again)
    assert later.transforms == encoder.transforms
    assert later.moments == {}
