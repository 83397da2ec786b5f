"""Parts of the training rows."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rechub_cli.data.source import Source
from rechub_cli.data.split import split_rows
from rechub_cli.errors import DataError, NoInput, SpecError
from rechub_cli.spec.model import Split

N = 5000


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    """5,000 rows in two files: row number, user, time in seconds."""
    folder = tmp_path_factory.mktemp("log")
    rng = np.random.default_rng(1)
    table = pa.table(
        {"row": np.arange(N), "u": [f"u{x}" for x in rng.integers(0, 900, N)], "t": rng.integers(0, 400, N)}
    )
    pq.write_table(table.slice(0, 3000), folder / "a.parquet", row_group_size=700)
    pq.write_table(table.slice(3000), folder / "b.parquet")
    return Source.open(["*.parquet"], base=folder), table


def parts_of(source, method, valid=0.1, test=0.2, seed=1, **names):
    names = {"time": "t", "user": "u", "order": None} | names
    return split_rows(source, Split(method=method, valid=valid, test=test), seed=seed, **names)


def rows_of(part, rows=997):
    return np.concatenate([np.array([], int)] + [chunk.table["row"].to_numpy() for chunk in part.tables(["row"], rows)])


@pytest.mark.parametrize("method", ["random", "order", "time", "user", "leave_one_out"])
def test_parts_are_disjoint_cover_everything_and_do_not_depend_on_chunks(log, method):
    source, _ = log
    parts = parts_of(source, method)
    rows = {name: rows_of(part) for name, part in parts.items()}
    assert list(rows) == ["train", "valid", "test"]
    assert all(len(part) for part in rows.values())
    assert np.array_equal(np.sort(np.concatenate(list(rows.values()))), np.arange(N))
    for name, part in parts_of(source, method).items():
        assert np.array_equal(rows_of(part, 64), rows[name])
        assert part.count_rows() in (None, len(rows[name]))
        assert part.fingerprint() == parts[name].fingerprint()
    assert len({part.fingerprint() for part in parts.values()}) == 3


@pytest.mark.parametrize("method", ["random", "order", "time", "user"])
def test_shares_are_those_asked_for(log, method):
    sizes = {name: len(rows_of(part)) / N for name, part in parts_of(log[0], method).items()}
    assert sizes == pytest.approx({"train": 0.7, "valid": 0.1, "test": 0.2}, abs=0.05)


@pytest.mark.parametrize("method", ["random", "user"])
def test_another_seed_gives_other_parts(log, method):
    one, other = (rows_of(parts_of(log[0], method, seed=seed)["test"]) for seed in (1, 2))
    assert len(np.intersect1d(one, other)) < 0.5 * len(one)


def test_random_draws_every_region_of_the_rows_alike(log):
    counts = np.histogram(rows_of(parts_of(log[0], "random")["test"]), bins=5, range=(0, N))[0]
    assert counts.min() > 150
    assert counts.max() < 250


def test_a_part_that_gets_no_row_is_told(tmp_path):
    pq.write_table(pa.table({"row": range(3), "t": range(3), "u": ["a"] * 3}), tmp_path / "a.parquet")
    with pytest.raises(NoInput, match=r"data.split leaves no row of 3 for valid; change the shares"):
        rows_of(parts_of(Source.open(["a.parquet"], base=tmp_path), "order", valid=0.1)["valid"])


def test_a_part_without_a_share_is_not_there(log):
    assert list(parts_of(log[0], "random", test=0.0)) == ["train", "valid"]
    assert list(parts_of(log[0], "time", valid=0.0)) == ["train", "test"]
    assert list(parts_of(log[0], "leave_one_out", valid=0.0)) == ["train", "test"]


def test_order_keeps_the_last_rows_for_valid_and_then_test(log):
    rows = {name: rows_of(part) for name, part in parts_of(log[0], "order").items()}
    assert (rows["train"][-1], rows["valid"][0], rows["valid"][-1], rows["test"][0]) == (3499, 3500, 3999, 4000)


def test_time_puts_the_latest_last_and_never_parts_rows_of_one_time(log):
    source, table = log
    times = table["t"].to_numpy()
    parts = {name: times[rows_of(part)] for name, part in parts_of(source, "time").items()}
    assert parts["train"].max() < parts["valid"].min()
    assert parts["valid"].max() < parts["test"].min()


@pytest.mark.parametrize(
    "times",
    [
        pa.array([3, 1, 2, 5, 4], pa.timestamp("ns", "UTC")),
        pa.array([3, 1, 2, 5, 4], pa.date32()),
        pa.array([0.5, -2.5, -1.0, 7.5, 1.5]),
        pa.array(["2026-01-03", "2026-01-01", "2026-01-02", "2026-01-05 10:00", "2026-01-04"]),
        pa.array(["2026-01-03T00:00:00Z", "2026-01-01", "2026-01-03T00:30:00+02:00", "2026-01-05", "2026-01-04"]),
    ],
)
def test_any_kind_of_time_is_put_in_order(tmp_path, times):
    pq.write_table(pa.table({"row": range(5), "t": times}), tmp_path / "a.parquet")
    parts = parts_of(Source.open(["a.parquet"], base=tmp_path), "time", valid=0.2, test=0.2)
    assert {name: rows_of(part).tolist() for name, part in parts.items()} == {
        "train": [0, 1, 2],
        "valid": [4],
        "test": [3],
    }


def test_many_rows_of_one_time_go_to_the_side_that_is_nearer_to_the_share(tmp_path):
    days = [1] * 50 + [2] * 40 + [3] * 10
    pq.write_table(pa.table({"row": range(100), "t": days}), tmp_path / "a.parquet")
    source = Source.open(["a.parquet"], base=tmp_path)
    assert parts_of(source, "time", valid=0, test=0.15)["test"].count_rows() == 10
    assert parts_of(source, "time", valid=0, test=0.4)["test"].count_rows() == 50
    parts = parts_of(source, "time", valid=0.01, test=0.01)
    assert {name: part.count_rows() for name, part in parts.items()} == {"train": 50, "valid": 40, "test": 10}


def test_too_few_times_leave_nothing_to_train_on(tmp_path):
    pq.write_table(pa.table({"row": range(4), "t": [1, 1, 2, 2]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match="too few different times"):
        parts_of(Source.open(["a.parquet"], base=tmp_path), "time", valid=0.2, test=0.2)


def test_a_row_without_a_time_is_named(tmp_path):
    pq.write_table(pa.table({"row": range(4), "t": [1, 2, None, 4]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"a\.parquet, row 3: column t is null"):
        parts_of(Source.open(["a.parquet"], base=tmp_path), "time")


def test_user_keeps_all_rows_of_a_user_together(log):
    source, table = log
    users = np.array(table["u"].to_pylist())
    parts = [set(users[rows_of(part)]) for part in parts_of(source, "user").values()]
    assert sum(map(len, parts)) == len(set().union(*parts))


def test_leave_one_out_takes_the_last_row_of_each_user_and_the_one_before(tmp_path):
    events = [  # user, time, order
        ("a", 5, 0),
        ("b", 1, 0),
        ("a", 9, 2),
        ("a", 9, 1),
        ("c", 7, 0),
        ("b", 2, 0),
        ("a", 1, 0),
        (None, 3, 0),
        ("d", 4, 0),
        ("d", 4, 0),
        ("d", 4, 0),
    ]
    user, time, order = zip(*events, strict=True)
    pq.write_table(pa.table({"row": range(11), "u": user, "t": time, "o": order}), tmp_path / "a.parquet")
    source = Source.open(["a.parquet"], base=tmp_path)
    rows = {name: rows_of(part, 3).tolist() for name, part in parts_of(source, "leave_one_out", order="o").items()}
    assert rows == {"train": [0, 1, 4, 6, 7, 8], "valid": [3, 9], "test": [2, 5, 10]}
    only = parts_of(source, "leave_one_out", test=0, time=None)
    assert rows_of(only["valid"]).tolist() == [5, 6, 10], "by place in the file where no time is named"


def test_a_part_of_filtered_rows_still_locates_them(log):
    source, _ = log
    filtered = Source(source.files, source.readers, [], "row >= 2990 and row < 3010")
    parts = parts_of(filtered, "order", valid=0.25, test=0.25)
    (chunk,) = parts["valid"].tables()
    assert [chunk.locate(0), chunk.locate(4)] == ["b.parquet, row 1", "b.parquet, row 5"]
    assert chunk.table["row"].to_pylist() == [3000, 3001, 3002, 3003, 3004]


@pytest.mark.parametrize("method", ["time", "user", "leave_one_out"])
def test_a_method_without_its_column_is_a_spec_error(log, method):
    with pytest.raises(SpecError, match=f"method {method} needs `(time|user): <column>`"):
        parts_of(log[0], method, time=None, user=None)
