"""A bad label or weight of any part ends in exit 65 before any training, and nothing is left behind."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from real_command import SPEC, clicks

NAN = float("nan")
WEIGHED = SPEC.replace("group: user_id", "group: user_id\nweight: care")
UNCACHED = SPEC.replace("data:\n", "data:\n  cache: off\n")
NO_PARAMS = SPEC.replace("  params: {hidden_dims: [8], dropout: 0.0}\n", "").replace("[auc, gauc, logloss]", "[auc]")
SEVERAL = NO_PARAMS.replace("deepfm", "shared_bottom").replace(
    "  click: {type: classification}", "  click: {weight: care}\n  late: {type: regression}"
)
MATCH = NO_PARAMS.replace("deepfm", "dssm\n  params: {item_hidden_dims: [4], user_hidden_dims: [4]}").replace(
    "group: user_id", "item: item_id\nuser: user_id"
)
MATCH = MATCH.replace("  price: {type: dense}\n", "").replace("  metrics: [auc]\n", "")

CASES = {
    "a label of the test rows": ("train-ctr", SPEC, "test", "click", 2, "label click is 2"),
    "a label of an uncached validation": ("train-ctr", UNCACHED, "valid", "click", -1, "label click is -1"),
    "a weight below zero": ("train-ctr", WEIGHED, "test", "care", -0.5, "weight care is -0.5"),
    "a weight that is no number": ("train-ctr", WEIGHED, "test", "care", NAN, "weight care is nan"),
    "an endless number": ("train-mtl", SEVERAL, "test", "late", float("inf"), "label late is inf"),
    "a weight of one label": ("train-mtl", SEVERAL, "test", "care", NAN, "weight care is nan"),
    "what users chose for validation": ("train-match", MATCH, "valid", "click", 7, "label click is 7"),
    "what users chose for the test": ("train-match", MATCH, "test", "click", 7, "label click is 7"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_bad_value_is_found_before_training(name, tmp_path, here):
    command, spec, part, column, value, said = CASES[name]
    (tmp_path / "spec.yaml").write_text(spec)
    for seed, one in enumerate(("train", "valid", "test")):
        table = clicks(200, seed)
        table = table.append_column("care", pa.array(np.ones(200))).append_column("late", pa.array(np.arange(200.0)))
        if one == part:
            values = table[column].to_pylist()
            values[149] = value
            table = table.set_column(table.column_names.index(column), column, pa.array(values, table[column].type))
        pq.write_table(table, tmp_path / f"{one}.parquet")
    before = sorted(tmp_path.iterdir())
    ended = here(command, "spec.yaml", cwd=tmp_path)
    assert ended.code == 65, ended.err
    assert f"error: {part}.parquet, row 150: {said}" in ended.err
    assert "Nothing was written." in ended.err
    assert "epoch.end" not in ended.err
    assert sorted(tmp_path.iterdir()) == before


def test_a_column_of_the_wrong_type_is_found_before_training_too(tmp_path, here):
    (tmp_path / "spec.yaml").write_text(SPEC)
    for seed, part in enumerate(("train", "valid", "test")):
        table = clicks(200, seed)
        if part == "test":
            table = table.set_column(2, "price", pa.array(["cheap"] * 200))
        pq.write_table(table, tmp_path / f"{part}.parquet")
    before = sorted(tmp_path.iterdir())
    ended = here("train-ctr", "spec.yaml", cwd=tmp_path)
    assert ended.code == 65, ended.err
    assert "error: column price: values of type string are not numbers" in ended.err
    assert "Nothing was written." in ended.err
    assert sorted(tmp_path.iterdir()) == before


def test_metrics_that_the_test_rows_do_not_define_are_told(tmp_path, here):
    (tmp_path / "spec.yaml").write_text(SPEC)
    for seed, part in enumerate(("train", "valid", "test")):
        pq.write_table(clicks(200, seed), tmp_path / f"{part}.parquet")
    table = clicks(200, 3)
    place = table.column_names.index("click")
    for name, values in (("none", pa.nulls(200, pa.int8())), ("zero", pa.array([0] * 200, pa.int8()))):
        pq.write_table(table.set_column(place, "click", values), tmp_path / f"{name}.parquet")
    ended = here("train-ctr", "spec.yaml", "--test", "none.parquet", "-o", "run", cwd=tmp_path)
    assert ended.code == 0, ended.err
    assert "not defined on these rows: auc, gauc, logloss;" in ended.err
    ended = here("evaluate", "run", "--data", "zero.parquet", cwd=tmp_path)
    assert ended.code == 0, ended.err
    assert "not defined on these rows: auc, gauc;" in ended.err
    assert "not defined" not in here("evaluate", "run", "--data", "valid.parquet", cwd=tmp_path).err
