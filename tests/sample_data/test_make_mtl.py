"""The sample data of several labels are what their script says they are."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import mean_squared_error, roc_auc_score

SAMPLE = Path(__file__).parents[2] / "sample_data"
FILES = SAMPLE / "mtl"


@pytest.fixture(scope="module")
def make():
    sys.path.insert(0, str(SAMPLE))
    try:
        specification = importlib.util.spec_from_file_location("make_mtl", SAMPLE / "make_mtl.py")
        module = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(module)
    finally:
        sys.path.remove(str(SAMPLE))
        sys.modules.pop("make", None)
    return module


@pytest.fixture(scope="module")
def made(make):
    return make.parts(*make.make())


@pytest.mark.parametrize("part", ["train", "valid", "test"])
def test_the_committed_rows_are_the_ones_the_script_makes(made, part):
    table = made[part][0]
    assert pq.read_table(FILES / f"{part}.parquet").cast(table.schema).equals(table)


def test_it_is_a_funnel(made):
    for table, _ in made.values():
        click, buy = table["click"].to_numpy(), table["buy"].to_numpy()
        assert (buy <= click).all()
        assert pc.equal(table["minutes"].is_valid(), pc.equal(table["click"], 1)).to_numpy().all()
        assert 0.04 < buy.mean() < 0.1


def test_the_true_probabilities_are_calibrated(made):
    table, truth = made["train"]
    clicked = table["click"].to_numpy() == 1
    for values, probability in (
        (table["click"].to_numpy(), truth["click"]),
        (table["buy"].to_numpy()[clicked], truth["buy"][clicked]),
    ):
        for low in (0.1, 0.3, 0.5, 0.7):
            inside = (probability >= low) & (probability < low + 0.2)
            assert abs(values[inside].mean() - probability[inside].mean()) < 0.03


def test_the_best_scores_are_those_of_the_truth(make, made):
    table, truth = made["test"]
    best = make.best(table, truth)
    click, buy = table["click"].to_numpy(), table["buy"].to_numpy()
    clicked = click == 1
    minutes = table["minutes"].to_numpy(zero_copy_only=False)[clicked]
    assert best["auc_click"] == pytest.approx(roc_auc_score(click, truth["click"]), abs=1e-4)
    assert best["auc_buy"] == pytest.approx(roc_auc_score(buy, truth["click"] * truth["buy"]), abs=1e-4)
    assert best["auc_cvr"] == pytest.approx(roc_auc_score(buy[clicked], truth["buy"][clicked]), abs=1e-4)
    assert best["rmse_minutes"] == pytest.approx(np.sqrt(mean_squared_error(minutes, truth["minutes"][clicked])))
    said = {"auc_click": 0.802, "auc_buy": 0.848, "auc_cvr": 0.804, "rmse_minutes": 1.474}  # as the specs say
    assert best == pytest.approx(said, abs=6e-4)


def test_all_files_together_stay_small():
    assert sum(path.stat().st_size for path in FILES.iterdir()) < 1_500_000
