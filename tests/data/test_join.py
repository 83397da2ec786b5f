"""Look-up tables."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rechub_cli.data.source import Source
from rechub_cli.errors import DataError, SpecError
from rechub_cli.spec.model import Join


def write(folder, **tables):
    for name, columns in tables.items():
        pq.write_table(pa.table(columns), folder / f"{name}.parquet")


def joined(folder, *joins, columns=None, data="log.parquet", **options):
    source = Source.open([data], base=folder, joins=[Join(**join) for join in joins], **options)
    return source, [row for chunk in source.tables(columns, 2) for row in chunk.table.to_pylist()]


def test_columns_are_added_by_key_and_missing_keys_are_null_and_counted(tmp_path):
    write(tmp_path, log={"u": [3, 1, 9, None, 1]}, users={"u": [1, 2, 3], "age": [10, 20, 30], "sex": ["f", None, "m"]})
    source, rows = joined(tmp_path, {"file": "users.parquet", "on": "u"})
    assert [(row["u"], row["age"], row["sex"]) for row in rows] == [
        (3, 30, "m"),
        (1, 10, "f"),
        (9, None, None),
        (None, None, None),
        (1, 10, "f"),
    ]
    assert source.stats.join_misses == {"users.parquet": 2}
    assert source.column_kinds() == {"u": "integer", "age": "integer", "sex": "string"}


def test_key_columns_may_have_other_names_and_widths_and_be_several(tmp_path):
    write(
        tmp_path,
        log={"user": pa.array([1, 1, 2], pa.int8()), "day": ["a", "b", "b"]},
        state={"id": pa.array([1, 1, 2], pa.int64()), "d": ["b", "a", "a"], "v": [0.5, 1.5, 2.5]},
    )
    _, rows = joined(tmp_path, {"file": "state.parquet", "on": {"user": "id", "day": "d"}})
    assert [row["v"] for row in rows] == [1.5, 0.5, None]


def test_large_ids_match_exactly(tmp_path):
    write(tmp_path, log={"u": [2**60, 2**60 + 1]}, users={"u": [2**60 + 1], "x": [7]})
    assert [row["x"] for row in joined(tmp_path, {"file": "users.parquet", "on": "u"})[1]] == [None, 7]


def test_ids_that_became_floats_for_their_nulls_match(tmp_path):
    write(tmp_path, log={"u": [1.0, None, 3.0]}, users={"u": [1, 3], "x": ["a", "c"]})
    assert [row["x"] for row in joined(tmp_path, {"file": "users.parquet", "on": "u"})[1]] == ["a", None, "c"]


def test_a_second_table_may_be_joined_on_a_column_of_the_first(tmp_path):
    write(
        tmp_path,
        log={"i": ["a", "b"]},
        items={"i": ["a", "b"], "maker": [1, 2]},
        makers={"maker": [2], "land": ["FR"]},
    )
    joins = {"file": "items.parquet", "on": "i"}, {"file": "makers.parquet", "on": "maker"}
    assert [row["land"] for row in joined(tmp_path, *joins, columns=["land"])[1]] == [None, "FR"]
    kept = joined(tmp_path, *joins, columns=["i"], filter='land == "FR"')[1]
    assert kept == [{"i": "b"}]


def test_a_table_that_no_column_is_asked_of_is_not_read(tmp_path):
    write(tmp_path, log={"u": [1]}, users={"u": [1, 1], "age": [10, 20]})
    source, rows = joined(tmp_path, {"file": "users.parquet", "on": "u"}, columns=["u"])
    assert rows == [{"u": 1}]
    assert source.stats.join_misses == {}


@pytest.mark.parametrize("keys", [[1, 2, 1], ["a", "b", "a"]])
def test_a_duplicate_key_is_an_error_that_names_it(tmp_path, keys):
    write(tmp_path, log={"u": keys[:1]}, users={"u": keys, "age": [10, 20, 30]})
    with pytest.raises(DataError, match=rf"users\.parquet: the key u={keys[0]!r} is there more than once"):
        joined(tmp_path, {"file": "users.parquet", "on": "u"})


def test_keys_of_different_kinds_are_an_error_that_names_both(tmp_path):
    write(tmp_path, log={"u": [1]}, users={"u": ["1"], "age": [10]})
    with pytest.raises(DataError, match=r"key u of log\.parquet is of kind integer, in users\.parquet string"):
        joined(tmp_path, {"file": "users.parquet", "on": "u"})


@pytest.mark.parametrize(
    ("on", "message"),
    [
        ("u", "would add the column 'x', which the data already has"),
        ({"nope": "u"}, r"log\.parquet has no column 'nope'"),
        ({"u": "nope"}, r"users\.parquet has no column 'nope'"),
    ],
)
def test_a_join_that_cannot_be_is_a_spec_error(tmp_path, on, message):
    write(tmp_path, log={"u": [1], "x": [1]}, users={"u": [1], "x": [10]})
    with pytest.raises(SpecError, match=message):
        joined(tmp_path, {"file": "users.parquet", "on": on})


def test_text_keys_are_read_as_the_look_up_tables_type_when_types_are_known(tmp_path):
    write(tmp_path, users={"u": [1, 2], "age": [10, 20]})
    (tmp_path / "log.csv").write_text("u,x\n2,7\n")
    _, rows = joined(tmp_path, {"file": "users.parquet", "on": "u"}, data="log.csv", types={"x": pa.int64()})
    assert rows == [{"u": 2, "x": 7, "age": 20}]


def test_a_key_that_is_no_number_is_missing(tmp_path):
    nan = float("nan")
    write(tmp_path, log={"u": [1.0, nan]}, users={"u": [1.0, nan, nan], "x": ["a", "b", "c"]})
    assert [row["x"] for row in joined(tmp_path, {"file": "users.parquet", "on": "u"})[1]] == ["a", None]
    write(tmp_path, users={"u": [1, 2], "x": ["a", "b"]})
    assert [row["x"] for row in joined(tmp_path, {"file": "users.parquet", "on": "u"})[1]] == ["a", None]


@pytest.mark.parametrize("name", ["log.jsonl", "log.csv"])
def test_known_types_of_added_columns_are_not_those_of_the_data(tmp_path, name):
    write(tmp_path, users={"u": [1, 2], "x": [7, 8]})
    (tmp_path / name).write_text("u\n2\n" if name == "log.csv" else '{"u": 2}\n')
    types = {"u": pa.int64(), "x": pa.int64()}
    assert joined(tmp_path, {"file": "users.parquet", "on": "u"}, data=name, types=types)[1] == [{"u": 2, "x": 8}]
