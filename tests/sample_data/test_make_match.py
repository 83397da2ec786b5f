"""The sample log of the bookshop is what its script says it is."""

import importlib.util
import itertools
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

SAMPLE = Path(__file__).parents[2] / "sample_data"
FILES = SAMPLE / "match"


@pytest.fixture(scope="module")
def make():
    specification = importlib.util.spec_from_file_location("make_match", SAMPLE / "make_match.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def made(make):
    log, items, probability = make.make()
    return make.parts(log, probability), items


@pytest.mark.parametrize("part", ["train", "valid", "test", "items"])
def test_the_committed_rows_are_the_ones_the_script_makes(made, part):
    table = made[1] if part == "items" else made[0][part][0]
    assert pq.read_table(FILES / f"{part}.parquet").cast(table.schema).equals(table)


def test_parts_follow_each_other_and_no_reader_buys_a_book_twice(made):
    tables = [table for table, _ in made[0].values()]
    for earlier, later in itertools.pairwise(tables):
        assert pc.max(earlier["ts"]).as_py() < pc.min(later["ts"]).as_py()
    log = pa.concat_tables(tables)
    for column in ("item_id", "ts"):
        assert log.group_by(["user_id", column]).aggregate([]).num_rows == len(log)


def test_the_best_recall_is_that_of_the_probabilities(make, made):
    table, true = made[0]["test"]
    best = make.recall(table, made[1], true)
    expected = float(np.sort(true, axis=1)[:, -10:].sum(1).mean())  # purchases were drawn from these
    assert best == pytest.approx(expected, abs=0.015)
    assert best == pytest.approx(0.5934, abs=5e-4)  # as the specs say
    np.testing.assert_allclose(true.sum(1), 1, atol=1e-4)


def test_popularity_and_taste_and_order_are_each_worth_something(make, made):
    table, true = made[0]["test"]
    sold = make.popularity(made[0]["train"][0], made[1])
    assert make.recall(table, made[1], np.broadcast_to(sold, true.shape)) < 0.1
    own = np.take_along_axis(true, true.argmax(1)[:, None], axis=1)[:, 0]
    assert 0.3 < (own > 0.5).mean() < 0.6  # the next volume; after a last volume taste alone is left


def test_all_sample_files_together_stay_small():
    assert sum(path.stat().st_size for path in FILES.iterdir()) < 1_000_000
