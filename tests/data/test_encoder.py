from __future__ import annotations

import datetime
import json
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from fake_rows import FakeRows, chunk, spec

from rechub_cli.data.encoder import Encoder
from rechub_cli.errors import DataError, NoInput, RunFailed, SpecError

SPARSE = {"type": "sparse"}


def fitted(column: Any, **options: Any) -> Encoder:
    return Encoder.fit(spec({"c": {**SPARSE, **options}}), FakeRows({"c": column}))


def ids(encoder: Encoder, column: Any) -> list[int]:
    return encoder.encode(chunk({"c": column}), labels=False).rows[:, 0].tolist()


def test_ids_are_missing_unseen_then_values_by_falling_frequency_and_ties_by_value() -> None:
    encoder = fitted(["b", "a", "c", "c", None, "d", "a"])
    assert ids(encoder, [None, "new", "a", "c", "b", "d"]) == [1, 2, 3, 4, 5, 6]
    assert encoder.schema["c"].vocab_size == 7


def test_min_count_leaves_rare_values_unseen_but_keeps_their_counts(tmp_path: Any) -> None:
    encoder = fitted(["a", "a", "b"], min_count=2)
    assert ids(encoder, ["a", "b"]) == [3, 2]
    encoder.save(tmp_path)
    table = pa.parquet.read_table(next(tmp_path.glob("*.parquet"))).to_pydict()
    assert table == {"value": ["a", "b"], "count": [2, 1], "id": [3, None]}


def test_max_vocab_keeps_the_most_frequent() -> None:
    assert ids(fitted([7, 7, 8, 8, 8, 9], max_vocab=2), [7, 8, 9]) == [4, 3, 2]


def test_unseen_values_spread_over_their_buckets_and_stay_there() -> None:
    encoder = fitted(["a"], oov_buckets=4)
    assert ids(encoder, ["a"]) == [6]
    strangers = ids(encoder, [f"new{i}" for i in range(100)])
    assert set(strangers) == {2, 3, 4, 5}
    assert ids(encoder, ["new7"]) == [strangers[7]]


def test_hash_buckets_need_no_vocabulary_and_hold_for_every_value() -> None:
    encoder = fitted([1, 2, 3], hash_buckets=10)
    assert encoder.schema["c"].vocab_size == 13
    out = ids(encoder, [*range(1000), None])
    assert out[-1] == 1
    assert set(out[:-1]) == set(range(3, 13))
    assert ids(encoder, [str(i) for i in range(1000)]) == out[:-1]


def test_the_hash_of_a_value_never_changes() -> None:
    text = fitted(["x"], hash_buckets=1_000_000)
    assert ids(text, ["", "a", "item_12345", "日本"]) == [947_058, 565_887, 482_161, 19_595]
    number = fitted([1], hash_buckets=1_000_000)
    assert ids(number, [0, 1, -1, 2**63 - 1]) == [607_538, 822_468, 443_939, 352_042]


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (pa.int8(), [1, -2]),
        (pa.uint16(), [1, 2]),
        (pa.int64(), [2**53, 2**53 + 1]),
        (pa.uint64(), [2**64 - 1, 2**64 - 2]),
        (pa.bool_(), [True, False]),
        (pa.string(), ["a", ""]),
        (pa.large_string(), ["a", "b"]),
        (pa.string_view(), ["a", "b"]),
        (pa.binary(), [b"\xff", b"\x00"]),
        (pa.binary(2), [b"ab", b"cd"]),
        (pa.date32(), [datetime.date(2026, 1, 1), datetime.date(1960, 2, 29)]),
        (pa.timestamp("ns"), [datetime.datetime(2026, 1, 1), datetime.datetime(2026, 1, 2)]),
        (pa.time32("s"), [datetime.time(1), datetime.time(2)]),
        (pa.float64(), [1.5, -2.5]),
        (pa.float32(), [1.0, 2.0]),
        (pa.dictionary(pa.int8(), pa.string()), ["a", "b"]),
        (pa.dictionary(pa.int32(), pa.int64()), [5, 6]),
    ],
)
def test_any_arrow_type_is_an_id_and_neighbours_stay_apart(kind: pa.DataType, values: list[Any]) -> None:
    column = pa.array(
        [values[0], values[0], values[1], None],
        pa.dictionary(kind.index_type, kind.value_type) if pa.types.is_dictionary(kind) else kind,
    )
    encoder = fitted(column)
    assert ids(encoder, column) == [3, 3, 4, 1]
    assert ids(encoder, column[1:]) == [3, 4, 1]
    assert ids(encoder, pa.chunked_array([column[:1], column[1:1], column[1:]])) == [3, 3, 4, 1]


def test_integral_floats_are_the_integers_they_stand_for() -> None:
    assert ids(fitted([1, 1, 2]), [2.0, 1.0, float("nan"), None, 1.5, -0.0]) == [4, 3, 1, 1, 2, 2]
    assert ids(fitted([1.0, 1.0, float("nan"), 2.0]), [1, 2, 3, None]) == [3, 4, 2, 1]


@pytest.mark.parametrize(
    ("train", "later", "expected"),
    [
        ([5, 5, 6], ["5", "6", "05", "x", None], [3, 4, 2, 2, 1]),
        (["5", "5", "x"], [5, 6, None], [3, 2, 1]),
        (["5", "5"], [5.0, 5.5], [3, 2]),
        ([1.5, 1.5, 2.0], [2, 3], [4, 2]),
        ([2**63, 2**63 - 1], pa.array([-1, 2**63 - 1]), [2, 3]),
        ([1, 0, 0], [True, False], [4, 3]),
        ([True, True, False], ["true", "False", "1", "x"], [3, 4, 3, 2]),
        ([datetime.date(2026, 1, 1)], ["2026-01-01", "yesterday"], [3, 2]),
        (["2026-01-01"], [datetime.date(2026, 1, 1)], [3]),
        ([1], pa.nulls(2), [1, 1]),
        ([1, 1, 2], pa.array([2, 1], pa.decimal128(38)), [4, 3]),
        (pa.array(["1.50", "1.50", "2.00"]).cast(pa.decimal128(9, 2)), [2, 1.5], [4, 3]),
        (pa.nulls(2), ["a"], [2]),
        (["a", "a", "b"], pa.array([0, 2**62]).cast(pa.timestamp("us")), [2, 2]),  # the second is beyond Python's years
    ],
)
def test_a_column_that_changed_its_type_keeps_its_ids_where_values_are_equal(
    train: Any, later: Any, expected: list[int]
) -> None:
    column = pa.array(train, pa.uint64()) if isinstance(train, list) and train[0] == 2**63 else train
    assert ids(fitted(column), later) == expected


def test_a_type_with_nothing_in_common_is_a_clear_error() -> None:
    with pytest.raises(DataError, match=r"column c was int64 when the encoder was fitted and is date32"):
        ids(fitted([1]), [datetime.date(2026, 1, 1)])
    with pytest.raises(DataError, match=r"column c: values of type struct"):
        fitted([{"a": 1}])


def test_the_encoder_does_not_depend_on_how_rows_were_cut() -> None:
    random = np.random.default_rng(0)
    table = pa.table(
        {
            "a": random.zipf(1.3, 5000) % 100_000,
            "b": random.zipf(1.3, 5000).astype(str),
            "x": random.normal(size=5000) * 1e6,
            "h": [[int(v)] * (v % 4) for v in random.integers(0, 9, 5000)],
        }
    )
    table = table.set_column(1, "b", table["b"].dictionary_encode())
    features = {
        "a": SPARSE,
        "b": SPARSE,
        "x": {"type": "dense", "embedding": "piecewise_linear"},
        "h": {"type": "sequence", "shares": "a", "max_len": 2},
    }
    whole, cut = (Encoder.fit(spec(features), FakeRows(table, chunk_rows=n)) for n in (5000, 77))
    assert whole.hash == cut.hash
    blocks = [cut.encode(part) for part in FakeRows(table, chunk_rows=333).tables()]
    one = whole.encode(chunk(table))
    assert np.array_equal(one.rows, np.concatenate([block.rows for block in blocks]))
    assert np.array_equal(one.values["h"], np.concatenate([block.values["h"] for block in blocks]))


def test_dictionaries_with_repeats_nulls_and_unused_values_count_only_what_rows_hold() -> None:
    column = pa.DictionaryArray.from_arrays(
        pa.array([0, 1, 2, None, 2], pa.int8()), pa.array(["a", None, "a", "ghost"])
    )
    encoder = fitted(column)
    assert encoder.schema["c"].vocab_size == 4
    assert ids(encoder, column) == [3, 1, 3, 1, 3]
    assert ids(encoder, ["ghost"]) == [2]


def test_shared_vocabularies_are_the_union_of_both_columns() -> None:
    encoder = Encoder.fit(
        spec(
            {
                "item": SPARSE,
                "hist": {"type": "sequence", "shares": "item"},
                "sum": {"type": "sequence", "shares": "hist", "column": "hist", "pooling": "sum"},
            }
        ),
        FakeRows({"item": [1, 2], "hist": [[9, 9, 9], [2]]}),
    )
    assert [encoder.schema[name].shares for name in ("item", "hist", "sum")] == [None, "item", "item"]
    assert {feature.vocab_size for feature in encoder.schema.features} == {6}
    block = encoder.encode(chunk({"item": [9, 2, 1], "hist": [[1, 9], [], None]}))
    assert block.rows[:, 0].tolist() == [3, 4, 5]  # 9 three times, 2 twice (a column is counted once), 1
    assert block.values["hist"].tolist() == block.values["sum"].tolist() == [5, 3]
    assert block.rows[:, 1:].tolist() == [[2, 2], [0, 0], [0, 0]]


def test_counts_of_unseen_and_missing_are_reported() -> None:
    encoder = fitted(["a", "b"])
    block = encoder.encode(chunk({"c": ["a", "x", "x", None]}))
    assert (block.unseen, block.missing) == ({"c": 2}, {"c": 1})


def test_a_vocabulary_much_larger_than_a_chunk_gives_the_same_ids() -> None:
    words = [f"item {i}" for i in range(5000)]
    for column in (words, list(range(-2500, 2500))):
        encoder = fitted(column, oov_buckets=3)
        all_at_once = ids(encoder, column)
        few = [*column[::100], "stranger" if column is words else 10**9, None]
        assert ids(encoder, few) == [*all_at_once[::100], ids(encoder, [*column, few[-2]])[-1], 1]
        assert sorted(all_at_once) == list(range(5, 5005))


def test_a_missing_column_is_named_with_those_that_are_there() -> None:
    with pytest.raises(DataError, match=r"train.csv: there is no column c; columns there: d"):
        fitted(["a"]).encode(chunk({"d": ["a"]}))


def test_no_rows_is_an_error_and_an_empty_chunk_is_not() -> None:
    with pytest.raises(NoInput, match="no rows"):
        fitted(pa.array([], pa.string()))
    encoder = fitted(["a"])
    empty = chunk({"c": ["a"]})
    assert encoder.encode(type(empty)(empty.table.slice(0, 0), "f", 0)).rows.shape == (0, 1)


def test_sharing_in_a_circle_or_with_a_number_is_refused() -> None:
    for features in (
        {"a": {**SPARSE, "shares": "b"}, "b": {**SPARSE, "shares": "a"}},
        {"a": {**SPARSE, "shares": "x"}, "x": {"type": "dense"}},
        {"a": {**SPARSE, "shares": "gone"}},
    ):
        with pytest.raises(SpecError, match=r"features\.a\.shares"):
            Encoder.fit(spec(features), FakeRows({"a": [1], "b": [1], "x": [1.0]}))


FULL = {
    "user": {**SPARSE, "min_count": 2},
    "shop/x": {**SPARSE, "hash_buckets": 7},
    "hist": {"type": "sequence", "shares": "user"},
    "x": {"type": "dense", "transform": "quantile", "flag_missing": True},
    "y": {"type": "dense", "embedding": "piecewise_linear", "n_bins": 4},
    "z": {"type": "dense", "transform": {"bucketize": [1, 5]}},
    "v": {"type": "vector", "dim": 2},
    "ts": {"type": "datetime", "parts": ["date"]},
}
ROWS = pa.table(
    {
        "user": ["a", "b", "a"],
        "shop/x": [1, 2, 3],
        "hist": [["b"], [], None],
        "x": [1.0, None, 3.0],
        "y": [1.0, 2.0, 9.0],
        "z": [0, 1, 7],
        "v": [[1.0, 2.0], None, [3.0, 4.0]],
        "ts": pa.array([0, 1, None], pa.timestamp("s")),
        "click": [0, 1, None],
        "w": [1.0, 2.0, 3.0],
    }
)


def full() -> Encoder:
    return Encoder.fit(spec(FULL, labels={"click": {}}, weight="w", group="user"), FakeRows(ROWS))


def test_a_saved_encoder_encodes_as_before(tmp_path: Any) -> None:
    encoder = full()
    encoder.save(tmp_path)
    again = Encoder.load(tmp_path)
    assert again.hash == encoder.hash
    assert again.schema == encoder.schema
    assert (again.columns, again.label_columns) == (encoder.columns, ["click", "w", "user"])
    one, two = encoder.encode(chunk(ROWS)), again.encode(chunk(ROWS))
    assert np.array_equal(one.rows, two.rows)
    assert one.values["hist"].tolist() == two.values["hist"].tolist()


def test_a_damaged_encoder_is_refused_with_one_clear_message(tmp_path: Any) -> None:
    full().save(tmp_path)
    header = tmp_path / "encoder.json"
    text = header.read_text()
    state = json.loads(text)
    vocabulary = tmp_path / state["vocabularies"]["user"]["file"]
    outside = {**state["vocabularies"], "user": {"file": "../../etc/passwd", "kind": "large_string", "oov_buckets": 1}}
    for broken in (
        text[:100],
        "[]",
        json.dumps({**state, "format": 99}),
        json.dumps({**state, "vocabularies": {}}),
        json.dumps({**state, "vocabularies": outside}),
        json.dumps({**state, "transforms": {"x": {"kind": "none"}}}),
        json.dumps({**state, "embed_dim": 4}),
        text.replace('"hash_buckets": 7', '"hash_buckets": 8'),
    ):
        header.write_text(broken)
        with pytest.raises(RunFailed, match="is damaged"):
            Encoder.load(tmp_path)
    header.write_text(text)
    content = vocabulary.read_bytes()
    for damage in (b"", content[:50], content[:-20], b"PAR1" + b"\0" * 100):
        vocabulary.write_bytes(damage)
        with pytest.raises(RunFailed, match="is damaged"):
            Encoder.load(tmp_path)
    pa.parquet.write_table(
        pa.table({"value": ["b", "a"], "count": [2, 1], "id": pa.array([3, None], pa.int32())}), vocabulary
    )
    with pytest.raises(RunFailed, match="does not match its hash"):
        Encoder.load(tmp_path)
    vocabulary.unlink()
    with pytest.raises(RunFailed, match="is damaged"):
        Encoder.load(tmp_path)
