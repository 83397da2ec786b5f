"""What init makes of columns whose meaning a person sees at once."""

import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rechub_cli.errors import NoInput, UsageError
from rechub_cli.spec.read import read_spec
from rechub_cli.workflows.init import run

N = 2000
RNG = np.random.default_rng(7)
CLICK = pa.array(RNG.integers(0, 2, N), pa.int8())


@pytest.fixture
def first_spec(tmp_path, monkeypatch):
    """Columns -> the spec that init writes for them, read back; ``click`` is added unless ``label`` is None."""
    monkeypatch.chdir(tmp_path)

    def spec(label="click", **columns):
        columns = {"click": CLICK, **columns} if label == "click" else columns
        pq.write_table(pa.table(columns), "log.parquet")
        Path("spec.yaml").write_text(run(["log.parquet"]))
        return read_spec("spec.yaml").spec

    return spec


def text():
    return Path("spec.yaml").read_text()


def heavy(n=N):
    return pa.array(np.floor(RNG.lognormal(3, 2, n)).astype(np.int64))


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("user_id", RNG.integers(0, 300, N), {"type": "sparse"}),
        ("f1", RNG.integers(5000, 5200, N), {"type": "sparse"}),  # dealt out evenly: ids
        ("f1", RNG.choice(RNG.integers(0, 2**60, 300), N), {"type": "sparse"}),  # hashes
        ("f1", RNG.integers(0, 5, N), {"type": "sparse"}),
        ("f1", RNG.choice(["a", "b", "c"], N), {"type": "sparse"}),
        ("f1", RNG.integers(0, 2, N).astype(bool), {"type": "sparse"}),
        ("f1", heavy(), {"type": "dense", "transform": "log1p"}),  # crowds near 0: a count
        ("f1", RNG.normal(size=N), {"type": "dense", "transform": "standardize"}),
        ("f1", RNG.beta(1, 40, N), {"type": "dense", "transform": "quantile"}),  # a tail that log1p does not shorten
        ("age", RNG.integers(18, 90, N), {"type": "dense", "transform": "standardize"}),  # the name tells
        ("ts", 1_700_000_000 + np.arange(N) * 60, {"type": "datetime", "parts": ["hour", "weekday"], "unit": "s"}),
        ("ts", (1_700_000_000 + np.arange(N) * 60) * 1000, {"type": "datetime", "unit": "ms"}),
    ],
)
def test_a_column_becomes_the_feature_its_values_ask_for(first_spec, name, values, expected):
    feature = first_spec(**{name: pa.array(values)}).features[name].model_dump()
    assert {key: feature[key] for key in expected} == expected


def test_whole_numbers_with_nulls_that_came_as_floats_are_still_ids(first_spec):
    values = RNG.integers(0, 200, N).astype(float)
    values[::7] = np.nan
    assert first_spec(f1=values).features["f1"].type == "sparse"


def test_a_float_is_a_number_even_with_few_values(first_spec):
    assert first_spec(f1=RNG.choice([0.5, 1.5, 2.5], N)).features["f1"].type == "dense"


@pytest.mark.parametrize(
    ("values", "why"),
    [
        (["same"] * N, "always the same value"),
        ([None] * N, "always missing"),
        ([f"request-{i}" for i in range(N)], "nearly every row has its own"),
        ([f"http://example.com/{i % 500}" for i in range(N)], "text to be read"),
        ([[0.5] * (i % 3) for i in range(N)], "different lengths"),
        ([b"\xff"] * N, "values of type binary have no feature yet"),
        ([[b"\xff", b"a"]] * N, "values of type list<element: binary> have no feature yet"),
    ],
)
def test_a_column_without_use_stands_in_the_spec_as_a_comment(first_spec, values, why):
    spec = first_spec(other=RNG.choice(["a", "b"], N), column=pa.array(values))
    assert list(spec.features) == ["other"]
    (line,) = [line for line in text().splitlines() if line.startswith("  # column:")]
    assert why in line


def test_values_without_an_order_are_left_out(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table = pa.table({"click": CLICK, "month": pa.array([(1, 2, 3)] * N, pa.month_day_nano_interval())})
    with pa.ipc.new_file("log.arrow", table.schema) as file:
        file.write_table(table)
    assert "left out: values of type month_day_nano_interval have no feature yet" in run(["log.arrow"])


def test_lists_of_nulls_in_pieces_are_left_out(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lists = pa.array([[None] * (i % 3) for i in range(N)], pa.list_(pa.null()))
    texts = [f"a{i}" for i in range(N)]
    pq.write_table(pa.table({"click": CLICK, "lists": lists, "texts": texts}), "log.parquet", row_group_size=1)
    assert "left out" in run(["log.parquet"])


def test_a_second_name_of_the_items_is_left_out(first_spec):
    item = RNG.integers(0, 200, N)
    spec = first_spec(item_id=item, title=[f"The Film {i}" for i in item], genre=[f"g{i % 7}" for i in item])
    assert list(spec.features) == ["item_id", "genre"]
    assert "another name of item_id" in text()


def test_a_rating_becomes_a_yes_or_no_and_no_feature(first_spec):
    spec = first_spec(label=None, item_id=RNG.integers(0, 200, N), rating=RNG.integers(1, 6, N))
    assert spec.labels["rating"].positive == ">= 4"
    assert "rating" not in spec.features


@pytest.mark.parametrize(
    ("values", "positive"),
    [(RNG.choice(["no", "yes"], N), "yes"), (RNG.choice([-1, 1], N), 1), (RNG.integers(0, 2, N), None)],
)
def test_what_means_yes_is_told_where_it_must_be(first_spec, values, positive):
    spec = first_spec(label=None, f1=heavy(), target=pa.array(values))
    assert spec.labels["target"].positive == positive


def test_outcomes_beside_the_label_are_no_features(first_spec):
    spec = first_spec(f1=heavy(), purchase=RNG.integers(0, 2, N), watch_time=RNG.normal(size=N))
    assert list(spec.labels) == ["click"]
    assert list(spec.features) == ["f1"]


def test_the_only_column_of_0_and_1_is_the_label_where_no_name_tells(first_spec):
    assert list(first_spec(label=None, f1=heavy(), outcome_x=CLICK).labels) == ["outcome_x"]


def test_two_columns_that_could_be_the_label_are_asked_about(first_spec):
    with pytest.raises(UsageError, match="0 and 1: a, b"):
        first_spec(label=None, a=CLICK, b=CLICK)
    assert "  b: {type: classification}" in run(["log.parquet"], label="b")
    with pytest.raises(UsageError, match="no column 'c'"):
        run(["log.parquet"], label="c")


def test_texts_and_lists_of_ids_become_sequences_that_share_them(first_spec):
    items = [f"i{number}" for number in RNG.integers(0, 50, N)]
    past = [[f"i{number}" for number in RNG.integers(0, 50, 4)] for _ in range(N)]
    tags = RNG.choice(["x", "y", "z", "w", "v"], (N, 2))
    features = first_spec(
        item_id=items, past=["|".join(row) for row in past], seen=past, tags=[";".join(row) for row in tags]
    ).features
    assert (features["past"].type, features["past"].shares) == ("sequence", "item_id")
    assert (features["seen"].type, features["seen"].shares) == ("sequence", "item_id")
    assert (features["tags"].type, features["tags"].shares, features["tags"].separator) == ("sequence", None, ";")


def test_a_list_of_floats_is_a_vector(first_spec):
    assert first_spec(f1=[[0.25, 1.5, -1.0]] * N).features["f1"].dim == 3


def test_names_that_yaml_would_read_otherwise_are_quoted(first_spec):
    names = ["Children's", "no", "a: b", "1", "C*"]
    assert list(first_spec(**{name: RNG.choice(["a", "b"], N) for name in names}).features) == names


def test_rows_are_split_by_time_where_the_latest_users_are_known(first_spec):
    start = datetime.datetime(2026, 3, 1)
    times = pa.array([start + datetime.timedelta(minutes=i) for i in range(N)])
    spec = first_spec(user_id=RNG.integers(0, 50, N), ts=times)
    assert (spec.data.split.method, spec.time, spec.group) == ("time", "ts", "user_id")
    spec = first_spec(user_id=np.arange(N) // 40, ts=times)  # each user came once and for all
    assert spec.data.split.method == "random"


def test_users_may_be_text(first_spec):
    users = pa.array([f"u{i % 50}" for i in range(N)])
    spec = first_spec(user_id=users, ts=pa.array(range(1_700_000_000, 1_700_000_000 + N)))
    assert spec.data.split.method == "time"


def test_text_may_come_in_several_row_groups(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    texts = {name: [f"{name}{i // 5}" for i in range(N)] for name in ("item_id", "sku")}
    pq.write_table(pa.table({"click": CLICK, **texts}), "log.parquet", row_group_size=N // 4)
    assert "item_id" in run(["log.parquet"])


def test_odd_columns_are_no_reason_to_stop(first_spec):
    spec = first_spec(
        user_id=pa.array([[1, 2]] * N),
        ts=pa.array(range(1_700_000_000, 1_700_000_000 + N)),
        item_id=pa.array([3e38, 1.0, 2.0, 5.0] * (N // 4)),
        buy=pa.array([2**64 - 1, 0] * (N // 2), pa.uint64()),
    )
    assert spec.features


def test_files_beside_the_training_rows_are_found_by_their_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table = pa.table({"click": CLICK, "f1": heavy()})
    for name in ("a_train_x", "a_valid", "a_test", "b_valid"):
        pq.write_table(table, f"{name}.parquet")
    Path("spec.yaml").write_text(run(["a_train_x.parquet"]))
    data = read_spec("spec.yaml").spec.data
    assert (data.train, data.valid, data.test) == (["a_train_x.parquet"], ["a_valid.parquet"], ["a_test.parquet"])
    assert data.split is None


def test_files_are_named_from_the_folder_of_the_spec(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pq.write_table(pa.table({"click": CLICK, "f1": heavy()}), "log.parquet")
    assert "train: ../log.parquet" in run(["log.parquet"], base=Path("specs"))


def test_a_csv_gives_the_same_spec_as_the_parquet_file(first_spec):
    import pyarrow.csv as pacsv

    first_spec(user_id=RNG.integers(0, 300, N), f1=heavy(), f2=RNG.choice(["a", "b"], N))
    pacsv.write_csv(pq.read_table("log.parquet"), "log.csv")
    assert run(["log.csv"]).replace("log.csv", "log.parquet") == text()


def test_no_rows_are_no_input(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pq.write_table(pa.table({"click": CLICK}).slice(0, 0), "log.parquet")
    with pytest.raises(NoInput):
        run(["log.parquet"])
