"""The sample data are what their script says they are."""

import importlib.util
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import roc_auc_score

SAMPLE = Path(__file__).parents[2] / "sample_data"
FILES = SAMPLE / "ctr"


@pytest.fixture(scope="module")
def make():
    specification = importlib.util.spec_from_file_location("make", SAMPLE / "make.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def made(make):
    return make.parts(*make.make())


@pytest.mark.parametrize("part", ["train", "valid", "test"])
def test_the_committed_rows_are_the_ones_the_script_makes(made, part):
    table = made[part][0]
    assert pq.read_table(FILES / f"{part}.parquet").cast(table.schema).equals(table)


def test_the_csv_holds_the_test_rows(made):
    rows = pacsv.read_csv(FILES / "test.csv", convert_options=pacsv.ConvertOptions(strings_can_be_null=True))
    for name in ("user_id", "item_id", "hist_items", "price", "age", "click"):
        assert rows[name].to_pylist() == made["test"][0][name].to_pylist()


def test_parts_follow_each_other_in_time(made):
    latest = [pc.max(table["ts"]).as_py() for table, _ in made.values()]
    earliest = [pc.min(table["ts"]).as_py() for table, _ in made.values()]
    assert latest[0] <= earliest[1]
    assert latest[1] <= earliest[2]


def test_the_probabilities_that_the_best_auc_comes_from_are_calibrated(made):
    table, probability = made["train"]
    clicks = table["click"].to_numpy()
    for low in np.arange(0.1, 0.9, 0.2):
        inside = (probability >= low) & (probability < low + 0.2)
        assert abs(clicks[inside].mean() - probability[inside].mean()) < 0.02


def test_the_best_auc_is_that_of_the_probabilities(make, made):
    table, probability = made["test"]
    clicks = table["click"].to_numpy()
    assert make.auc(clicks, probability) == pytest.approx(roc_auc_score(clicks, probability))
    assert make.auc(clicks, probability) == pytest.approx(0.9036, abs=5e-4)  # as README and the specs say


def test_no_planted_pair_shows_in_one_of_its_columns(made):
    """City, age and the history are blind alone: a linear model has nothing to hold on to."""
    table = made["train"][0].to_pandas()
    for name in ("city", "age"):
        rates = table.fillna({"age": 0}).groupby(name)["click"].transform("mean")
        assert roc_auc_score(table["click"], rates) < 0.55
    pair = table.groupby(["city", "category"])["click"].transform("mean")
    assert roc_auc_score(table["click"], pair) > 0.6


def test_all_sample_files_together_stay_small():
    assert sum(path.stat().st_size for path in FILES.iterdir()) < 3_300_000
