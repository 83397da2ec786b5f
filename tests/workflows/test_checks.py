"""What validate remarks upon."""

import datetime

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rechub_cli.run import Events, Stop
from rechub_cli.workflows.validate import ValidateRequest, validate

SPEC = """\
data: {train: train.parquet, valid: valid.parquet}
features:
  user: {type: sparse}
  price: {type: dense}
  hist: {type: sequence, separator: ",", max_len: 3}
labels: {click: {type: classification}}
time: at
model: {name: lr}
"""


def rows(n: int, seed: int, start: int = 0) -> pa.Table:
    rng = np.random.default_rng(seed)
    begin = datetime.datetime(2026, 1, 1) + datetime.timedelta(days=start)
    return pa.table(
        {
            "user": rng.integers(0, 50, n),
            "price": rng.random(n),
            "hist": [",".join(map(str, rng.integers(0, 9, 3))) for _ in range(n)],
            "click": rng.integers(0, 2, n),
            "at": [begin + datetime.timedelta(seconds=i) for i in range(n)],
        }
    )


@pytest.fixture
def remarks(tmp_path):
    def of(train: pa.Table, valid: pa.Table, *overrides: str) -> list[str]:
        pq.write_table(train, tmp_path / "train.parquet")
        pq.write_table(valid, tmp_path / "valid.parquet")
        (tmp_path / "spec.yaml").write_text(SPEC)
        request = ValidateRequest(str(tmp_path / "spec.yaml"), overrides, runs_dir=str(tmp_path / "runs"))
        outcome = validate(request, Events(), Stop())
        return outcome.warnings + outcome.faults

    return of


def test_sound_data_raises_no_remark(remarks):
    assert remarks(rows(2000, 0), rows(500, 1, start=1)) == []


def test_rows_of_valid_that_train_has_too(remarks):
    train = rows(2000, 0)
    mixed = (
        pa.concat_tables([rows(400, 1), train.slice(0, 100)]).drop(["at"]).append_column("at", rows(500, 1, 1)["at"])
    )
    found = remarks(train, mixed)
    assert len(found) == 1
    assert found[0].startswith("valid: 20.0% of the rows also occur in train")


def test_repeats_that_chance_explains_are_no_remark(remarks):
    few = [rows(n, seed, start).set_column(1, "price", pa.array(np.zeros(n))).set_column(2, "hist", pa.array(["1"] * n))
           for n, seed, start in ((2000, 0, 0), (500, 1, 1))]  # fmt: skip
    assert remarks(*few) == []


def test_a_part_that_begins_before_train_ends(remarks):
    found = remarks(rows(2000, 0), rows(500, 1))
    assert len(found) == 1
    assert found[0].startswith("valid begins at 2026-01-01 00:00:00, before train ends at 2026-01-01 00:33:19 (at)")


def test_sequences_that_are_cut(remarks):
    train = rows(2000, 0)
    train = train.set_column(2, "hist", pa.array(["1,2,3,4,5"] * 100 + train["hist"].to_pylist()[100:]))
    assert remarks(train, rows(500, 1, 1)) == [
        "train: 5.0% of hist are longer than max_len, the longest has 5 values: only the last ones are used"
    ]


def test_an_id_that_hardly_ever_comes_twice_and_one_that_never_differs(remarks):
    train = rows(3000, 0).set_column(0, "user", pa.array(range(3000)))
    found = remarks(train, train.slice(0, 0).append_column("x", pa.array([], pa.int64())))
    assert any("user has 3,000 values in 3,000 rows" in text for text in found)
    train = rows(3000, 0).set_column(0, "user", pa.array([7] * 3000))
    assert "user has but one value in train" in remarks(train, rows(500, 1, 1))


def test_what_the_machine_cannot_hold_is_a_fault(remarks, monkeypatch):
    found = remarks(rows(2000, 0), rows(500, 1, 1), "embed_dim=1000000000000")
    assert any(text.startswith("the embeddings would need") for text in found)
    monkeypatch.setattr("shutil.disk_usage", lambda place: type("Usage", (), {"free": 1000}))
    found = remarks(rows(2000, 0), rows(500, 1, 1))
    assert len(found) == 1
    assert "of disk" in found[0]
