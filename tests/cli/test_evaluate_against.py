"""``evaluate --against``, ``--by`` and ``--intervals``."""

import hashlib
import json

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from real_command import clicks
from safetensors.numpy import load_file, save_file


def blunt(run):
    """Make a run's model say the same of every row."""
    file = next((run / "checkpoints").glob("*/model.safetensors"))
    save_file({name: np.zeros_like(value) for name, value in load_file(file).items()}, file)
    manifest = json.loads((file.parent / "manifest.json").read_text())
    content = file.read_bytes()
    manifest["files"]["model.safetensors"] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (file.parent / "manifest.json").write_text(json.dumps(manifest))


@pytest.fixture
def pair(shelf, here):
    """runs/a, which has learnt; runs/b, published as prod, which says 0.5 of everything; and labelled rows."""
    blunt(shelf / "runs" / "b")
    assert here("publish", "b", "--as", "prod", cwd=shelf).code == 0
    rows = clicks(300, 9)
    country = np.where(np.arange(300) < 200, "de", np.where(np.arange(300) < 280, "fr", None))
    rows = rows.append_column("country", pa.array(country.tolist()))
    rows = rows.append_column("session", pa.array(np.arange(300) % 250))
    pq.write_table(rows, shelf / "rows.parquet")
    return shelf


def document(ended):
    assert ended.out, ended.err
    return json.loads(ended.out)


def test_a_better_run_passes_and_a_worse_one_does_not(pair, here):
    gates = ["--require", "auc >= against.auc - 0.001", "--require", "logloss <= against.logloss*1.002"]
    ended = here("evaluate", "a", "-d", "rows.parquet", "--against", "prod", *gates, "--json", cwd=pair)
    found = document(ended)
    assert (ended.code, found["v"], found["rows"]) == (0, 1, 300)
    assert (found["run"], found["against"]["run"]) == ("a", "prod")
    assert found["metrics"]["auc"] > 0.8 > found["against"]["metrics"]["auc"] == 0.5
    assert found["against"]["metrics"]["logloss"] == pytest.approx(np.log(2))
    assert [gate["passed"] for gate in found["gates"]] == [True, True]
    assert found["gates"][0]["values"] == {"auc": found["metrics"]["auc"], "against.auc": 0.5}
    ended = here("evaluate", "prod", "-d", "rows.parquet", "--against", "a", *gates, cwd=pair)
    assert ended.code == 3
    assert "against.auc is 0.9" in ended.err or "against.auc is 0.8" in ended.err
    assert ended.out.splitlines()[0].split() == ["metric", "prod", "against", "a"]
    same = ["--require", "auc == against.auc", "--fail-if", "gauc != against.gauc"]
    assert here("evaluate", "a", "-d", "rows.parquet", "--against", "a", *same, cwd=pair).code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["--against", "nix", "--require", "auc > 0"], 66, "nix is not a run directory"),
        (["--require", "auc > against.auc"], 2, "name it with --against RUN"),
        (["--against", "prod", "--require", "auc > against.nix"], 2, "nix"),
        (["--against", "prod", "-d", "-"], 2, "--against reads the rows twice"),
        (["--by", "land"], 2, "has no column land"),
        (["--intervals", "95"], 2, "--intervals is 95"),
        (["--intervals", "0.9", "--bootstrap", "0"], 2, "--bootstrap is 0"),
    ],
)
def test_what_cannot_be_compared_fails(pair, here, arguments, code, text):
    ended = here("evaluate", "a", "-d", "rows.parquet", *arguments, cwd=pair)
    assert (ended.code, ended.out) == (code, "")
    assert text in ended.err


def test_gates_fail_closed_where_a_metric_is_undefined(pair, here):
    table = pq.read_table(pair / "rows.parquet")
    pq.write_table(table.filter(pc.equal(table["click"], 1)), pair / "ones.parquet")
    for gate in (["--require", "auc >= against.auc - 1"], ["--fail-if", "against.auc > 2"]):
        ended = here("evaluate", "a", "-d", "ones.parquet", "--against", "prod", *gate, cwd=pair)
        assert (ended.code, "undefined" in ended.err) == (3, True)


def test_runs_that_measure_different_things_are_not_compared(pair, here):
    file = pair / "runs" / "b" / "run.json"
    info = json.loads(file.read_text())
    info["spec"]["labels"]["click"]["positive"] = ">= 1"
    file.write_text(json.dumps(info))
    ended = here("evaluate", "a", "-d", "rows.parquet", "--against", "prod", cwd=pair)
    assert (ended.code, "do not measure the same thing" in ended.err) == (2, True)


def test_segments_are_what_their_rows_alone_would_give(pair, here):
    found = document(
        here("evaluate", "a", "-d", "rows.parquet", "--by", "country", "--against", "prod", "--json", cwd=pair)
    )
    values = found["segments"]["values"]
    assert [(one["value"], one["rows"]) for one in values] == [("de", 200), ("fr", 80), (None, 20)]
    table = pq.read_table(pair / "rows.parquet")
    pq.write_table(table.filter(pc.equal(table["country"], "fr")), pair / "fr.parquet")
    alone = document(here("evaluate", "a", "-d", "fr.parquet", "--json", cwd=pair))
    assert values[1]["metrics"] == pytest.approx(alone["metrics"])
    assert values[1]["against"]["auc"] == 0.5
    text = here("evaluate", "a", "-d", "rows.parquet", "--by", "country", cwd=pair).out
    assert f"fr         80  {values[1]['metrics']['auc']:.6f}" in text
    assert "(null)" in text


def test_segments_beyond_some_hundred_are_counted(pair, here):
    found = document(here("evaluate", "a", "-d", "rows.parquet", "--by", "session", "--json", cwd=pair))["segments"]
    assert len(found["values"]) == 200
    assert found["more"] == {"values": 50, "rows": 50}
    assert found["values"][0]["metrics"]["auc"] in (0, 0.5, 1, None)  # of two rows


def test_intervals_are_the_same_again_and_by_group(pair, here):
    flags = ["evaluate", "a", "-d", "rows.parquet", "--against", "prod", "--intervals", "0.9", "--bootstrap", "30"]
    first = here(*flags, "--json", cwd=pair).out
    found = json.loads(first)["intervals"]
    assert first == here(*flags, "--json", cwd=pair).out
    assert (found["level"], found["draws"], found["unit"]) == (0.9, 30, "user_id")
    low, high = found["metrics"]["auc"]
    assert low < json.loads(first)["metrics"]["auc"] < high
    assert found["against"]["auc"] == [0.5, 0.5]
    assert found["difference"]["auc"] == pytest.approx([low - 0.5, high - 0.5])
    assert "90%" in here(*flags, cwd=pair).out.splitlines()[0]
