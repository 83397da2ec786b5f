"""New rows that are no longer what the model learnt from: told, and an error where no score can be trusted."""

import json
import shutil
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from real_command import SPEC, clicks

from rechub_cli.cli import app


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Validation rows enough to say how many ids are new from day to day: 1 in 100."""
    folder = tmp_path_factory.mktemp("drift")
    pq.write_table(clicks(2000, 0), folder / "train.parquet")
    pq.write_table(with_new_items(clicks(2000, 1), 20), folder / "valid.parquet")
    pq.write_table(clicks(2000, 2), folder / "same.parquet")
    (folder / "spec.yaml").write_text(SPEC.replace("  test: test.parquet\n", ""))
    return folder


@pytest.fixture(scope="module")
def run(folder):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["rechub", "train-ctr", "spec.yaml", "-o", "run", "--epochs", "1"])
        assert app.run() == 0
    return folder / "run"


def with_new_items(table: pa.Table, n: int) -> pa.Table:
    items = table["item_id"].to_numpy().copy()
    items[:n] = 1000 + np.arange(n)
    return table.set_column(1, "item_id", pa.array(items))


def without(table: pa.Table, name: str) -> pa.Table:
    place = table.column_names.index(name)
    return table.set_column(place, name, pa.nulls(len(table), table.schema.field(name).type))


def write(table: pa.Table, path) -> str:
    pq.write_table(table, path)
    return path.name


def test_training_keeps_what_its_columns_were_like(run, folder):
    found = json.loads((run / "encoder" / "reference.json").read_text())
    train = pq.read_table(folder / "train.parquet")
    price = train["price"].drop_null().to_numpy()
    lengths = [min(len(cell.split("|")), 5) if cell else 0 for cell in train["hist"].to_pylist()]
    columns = found["columns"]
    assert (found["rows"], found["valid_rows"]) == (2000, 2000)
    assert columns["item_id"] == {"missing": 0.0, "unseen": 0.01}
    assert columns["price"] == pytest.approx(
        {"missing": train["price"].null_count / 2000, "mean": price.mean(), "std": price.std()}
    )
    assert columns["hist"]["missing"] == lengths.count(0) / 2000
    assert columns["hist"]["length"] == pytest.approx(np.mean(lengths))


def test_rows_like_those_of_training_raise_no_alarm(here, run, folder, tmp_path):
    ended = here("predict", run, "-d", folder / "same.parquet", "-o", "s.csv", "--json", cwd=tmp_path)
    assert (ended.code, "drift" in ended.err) == (0, False), ended.err
    drift = json.loads(ended.out)["drift"]
    assert (drift["rows"], drift["reference"]) == (2000, True)
    assert {shift["verdict"] for column in drift["columns"].values() for shift in column.values()} == {"ok"}
    assert drift["columns"]["item_id"]["unseen"]["training"] == 0.01


@pytest.mark.parametrize("name", ["user_id", "price", "hist"])
def test_a_column_gone_empty_is_an_error_and_the_old_output_stays(name, here, run, folder, tmp_path):
    write(without(pq.read_table(folder / "same.parquet"), name), tmp_path / "bad.parquet")
    (tmp_path / "s.csv").write_text("yesterday")
    command = ["predict", run, "-d", "bad.parquet", "-o", "s.csv", "--overwrite"]
    ended = here(*command, cwd=tmp_path)
    assert ended.code == 65
    assert f"{name}: missing in 100.0% of the rows; in training " in ended.err
    assert ((tmp_path / "s.csv").read_text(), len(list(tmp_path.iterdir()))) == ("yesterday", 2)
    assert here(*command, "--allow-drift-of", f"click,{name}", cwd=tmp_path).code == 2
    assert here(*command, "--allow-drift-of", f"item_id,{name}", cwd=tmp_path).code == 0
    assert (tmp_path / "s.csv").read_text().startswith("score\n")
    assert here(*command, "--allow-drift", cwd=tmp_path).code == 0


def test_unseen_ids_are_an_error_once_they_are_three_times_as_many_and_five_in_a_hundred(here, run, folder, tmp_path):
    same = pq.read_table(folder / "same.parquet")
    for n, code in ((90, 0), (110, 65)):
        write(with_new_items(same, n), tmp_path / "new.parquet")
        ended = here("evaluate", run, "-d", "new.parquet", "--log-format", "json", cwd=tmp_path)
        assert ended.code == code, ended.err
        events = [json.loads(line) for line in ended.err.splitlines()]
        found = next(event for event in events if event["event"] == "data.drift")
        assert (found["level"], found["data"]["column"], found["data"]["measure"]) == ("warn", "item_id", "unseen")
        assert (found["data"]["training"], found["data"]["now"]) == (0.01, n / 2000)
    few = with_new_items(same.slice(0, 50), 50)
    write(without(few, "price"), tmp_path / "few.parquet")
    assert here("evaluate", run, "-d", "few.parquet", cwd=tmp_path).code == 0  # chance


def test_a_mean_that_moved_is_a_warning_in_standard_deviations(here, run, folder, tmp_path):
    same = pq.read_table(folder / "same.parquet")
    moved = pa.array(same["price"].to_pandas() + 30, from_pandas=True)
    write(same.set_column(2, "price", moved), tmp_path / "moved.parquet")
    ended = here("predict", run, "-d", "moved.parquet", "-o", "s.csv", cwd=tmp_path)
    assert ended.code == 0
    assert "warn  data.drift price: mean 31" in ended.err
    assert "standard deviations away" in ended.err


def test_gates_can_name_drift(here, run, folder):
    command = ["evaluate", run, "-d", "same.parquet"]
    fine = ["--require", "drift.unseen.item_id <= 0.05", "--require", "drift.mean.price in -1..1"]
    ended = here(*command, *fine, "--fail-if", "drift.missing.hist > 0.9", "--json", cwd=folder)
    assert ended.code == 0, ended.err
    assert [gate["passed"] for gate in json.loads(ended.out)["gates"]] == [True] * 3
    ended = here(*command, "--require", "drift.missing.price <= 0.01", cwd=folder)
    assert (ended.code, "drift.missing.price is 0." in ended.err) == (3, True)
    assert here(*command, "--require", "drift.unseen.nix <= 1", cwd=folder).code == 3


def test_every_column_is_listed_with_v_and_in_the_log_file(here, run, folder, tmp_path):
    command = ["predict", run, "-d", folder / "same.parquet", "--overwrite", "-o", tmp_path / "s.csv"]
    ended = here(*command, "--log-file", "log", cwd=tmp_path)
    assert "data.column" not in ended.err
    shown = here(*command, "-v", cwd=tmp_path).err
    for text in ((tmp_path / "log").read_text(), shown):
        lines = [line for line in text.splitlines() if "data.column" in line]
        assert [line.split()[3] for line in lines] == ["user_id", "item_id", "price", "hist"]
        assert "unseen     0.0% (1.0%)" in lines[1]


def test_a_run_of_an_earlier_version_has_nothing_to_compare_with(here, run, folder, tmp_path):

    shutil.copytree(run, tmp_path / "old")
    (tmp_path / "old" / "encoder" / "reference.json").unlink()
    write(without(with_new_items(pq.read_table(folder / "same.parquet"), 900), "price"), tmp_path / "bad.parquet")
    ended = here("predict", "old", "-d", "bad.parquet", "-o", "s.csv", "--json", cwd=tmp_path)
    assert (ended.code, "counted as unseen: item_id 45.0%" in ended.err) == (0, True)
    drift = json.loads(ended.out)["drift"]
    assert (drift["reference"], drift["columns"]["price"]["missing"]["now"]) == (False, 1.0)
    (tmp_path / "old" / "encoder" / "reference.json").write_text('{"format": 1, "rows": "many"}')
    assert here("predict", "old", "-d", "bad.parquet", "-o", "t.csv", cwd=tmp_path).code == 65
