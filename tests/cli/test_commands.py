"""The commands as a person or a script uses them, each in a process of its own."""

import json
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from real_command import environment, rechub

import rechub_cli


def test_training_prints_the_run_directory_and_leaves_everything_in_it(trained):
    run, ended = trained
    assert ended.out == "run\n"
    names = {path.name for path in run.iterdir()}
    assert names >= {
        "run.json", "spec.yaml", "spec.resolved.yaml", "events.jsonl", "train.log", "metrics.csv",
        "log_table.txt", "log_table.html", "checkpoints", "best", "last", "encoder", "predictions",
    }  # fmt: skip
    info = json.loads((run / "run.json").read_text())
    assert (info["status"], info["exit"]) == ("done", 0)
    assert info["test"]["auc"] > 0.8
    assert (run.parent / "latest").resolve() == run.resolve()
    assert not list(run.rglob("*.tmp"))


def test_the_log_off_a_terminal_is_plain_dated_lines(trained):
    _, ended = trained
    lines = ended.err.splitlines()
    assert all(line[:2] == "20" and line[19] == "Z" for line in lines)
    assert "\x1b" not in ended.err
    assert [line.split()[2] for line in lines if "epoch.end" in line] == ["epoch.end", "epoch.end"]


def test_events_are_numbered_json_lines_from_start_to_end(trained):
    run, _ = trained
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert events[0]["event"] == "run.start"
    assert (events[-1]["event"], events[-1]["data"]["exit"]) == ("run.end", 0)


def test_test_rows_are_scored_by_training_as_predict_scores_them(trained, data, tmp_path, here):
    run, _ = trained
    ended = here(
        "predict", run, "-d", data / "test.parquet", "-o", "s.parquet", "--keep", "user_id,click", cwd=tmp_path
    )
    assert (ended.code, ended.out) == (0, "s.parquet\n")
    mine, theirs = pq.read_table(tmp_path / "s.parquet"), pq.read_table(run / "predictions" / "test.parquet")
    assert mine.column_names == ["user_id", "click", "score"]
    assert mine["user_id"] == pq.read_table(data / "test.parquet")["user_id"]
    np.testing.assert_allclose(mine["score"], theirs["score"], rtol=1e-6)


def test_python_and_the_command_give_the_same_scores_and_write_nothing_into_the_run(trained, data, tmp_path, here):
    run, _ = trained
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    ended = here("predict", run, "-d", data / "test.csv", "-o", "s.csv", "--keep", "item_id", cwd=tmp_path)
    assert ended.code == 0, ended.err
    table = pq.read_table(data / "test.parquet")
    scores = rechub_cli.load(run).predict(table)
    written = pacsv.read_csv(tmp_path / "s.csv")
    assert written["item_id"] == table["item_id"]
    np.testing.assert_array_equal(written["score"].to_numpy().astype(np.float32), scores)
    np.testing.assert_array_equal(rechub_cli.load(run).predict(table.to_pandas()), scores)
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


def test_evaluate_gives_the_metrics_of_training_as_text_and_as_json(trained, data, here):
    run, _ = trained
    ended = here("evaluate", run, "-d", "test.parquet", "--json", "--metric", "ece", cwd=data)
    found = json.loads(ended.out)
    assert found["v"] == 1
    assert found["rows"] == 500
    assert list(found["metrics"]) == ["auc", "gauc", "logloss", "ece"]
    expected = json.loads((run / "run.json").read_text())["test"]
    assert found["metrics"]["auc"] == pytest.approx(expected["auc"], abs=1e-9)
    text = here("evaluate", run, "-d", "test.csv", "-q", cwd=data)
    assert text.err == ""
    assert text.out.splitlines()[0] == f"auc      {expected['auc']:.6f}"


def test_a_requirement_that_does_not_hold_exits_3_after_the_metrics(trained, data, here):
    run, _ = trained
    ended = here(
        "evaluate", run, "-d", "test.parquet", "--require", "auc > 0.5", "--require", "auc in 0..0.1", cwd=data
    )
    assert ended.code == 3
    assert "auc" in ended.out
    assert "auc in 0..0.1" in ended.err
    assert "auc > 0.5" not in ended.err


def test_rows_go_through_a_pipe_in_their_order(trained, data):
    run, _ = trained
    content = (data / "test.csv").read_bytes()
    flags = ["-d", "-", "--input-format", "csv", "-o", "-", "--no-header", "--keep", "user_id"]
    ended = rechub("predict", run, *flags, cwd=data, input=content)
    rows = [line.split(",") for line in ended.out.splitlines()]
    assert len(rows) == 500
    assert [row[0] for row in rows] == pq.read_table(data / "test.parquet")["user_id"].to_pylist()
    assert all(0 < float(row[1]) < 1 for row in rows)


def test_no_rows_in_are_no_rows_out(trained, data, tmp_path, here):
    pq.write_table(pq.read_table(data / "test.parquet").slice(0, 0), tmp_path / "none.parquet")
    for flags in (["-o", "s.parquet"], ["-o", "-"]):
        ended = here("predict", trained[0], "-d", "none.parquet", "--keep", "item_id", *flags, cwd=tmp_path)
        assert ended.code == 0, ended.err
    assert ended.out == "item_id,score\n"
    assert pq.read_table(tmp_path / "s.parquet").schema.names == ["item_id", "score"]


def test_a_reader_that_goes_away_is_141(trained, data):
    run, _ = trained
    script = (
        f"set -o pipefail; {sys.executable} -m rechub_cli predict {run} -d test.csv -o - --keep hist,user_id | head -1"
    )
    ended = subprocess.run(
        ["bash", "-c", script], cwd=data, capture_output=True, text=True, env=environment(), check=False
    )
    # a small output may fit into the pipe before its reader is gone
    assert ended.returncode in (0, 141)
    assert "Traceback" not in ended.stderr
    assert ended.stdout == "hist,user_id,score\n"


def test_a_failed_predict_leaves_the_old_output(trained, data, tmp_path, here):
    run, _ = trained
    (tmp_path / "s.csv").write_text("old")
    refused = here("predict", run, "-d", data / "test.csv", "-o", "s.csv", cwd=tmp_path)
    assert (refused.code, (tmp_path / "s.csv").read_text()) == (73, "old")
    (tmp_path / "bad.csv").write_bytes((data / "test.csv").read_bytes() + b"u01,2\n")
    failed = here("predict", run, "-d", "bad.csv", "-o", "s.csv", "--overwrite", cwd=tmp_path)
    assert (failed.code, (tmp_path / "s.csv").read_text()) == (65, "old")
    assert "bad.csv, row 501" in failed.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.csv", "s.csv"]


def test_a_run_can_be_moved_and_read_only(trained, data, tmp_path, here):
    run, _ = trained
    subprocess.run(["cp", "-r", run, tmp_path / "moved"], check=True)
    subprocess.run(["chmod", "-R", "a-w", tmp_path / "moved"], check=True)
    ended = here("evaluate", tmp_path / "moved", "-d", data / "test.parquet", "-q", cwd=tmp_path)
    subprocess.run(["chmod", "-R", "u+w", tmp_path / "moved"], check=True)
    assert (ended.code, ended.err) == (0, "")


def test_validate_reads_the_rows_and_says_what_it_found(data, here):
    ended = here("validate", "spec.yaml", "--json", "-q", cwd=data)
    found = json.loads(ended.out)
    assert found["ok"] is True
    assert found["parts"]["train"]["rows"] == 2000
    assert "shares item_id" in found["features"]["hist"]


def test_validate_prints_a_spec_that_says_where_each_value_comes_from(data, here):
    ended = here("validate", "spec.yaml", "--print", "--set", "embed_dim=8", cwd=data)
    assert ended.code == 0
    assert "embed_dim: 8" in ended.out
    assert "# --set" in ended.out
    assert "# default" in ended.out


def test_the_resolved_spec_in_a_run_trains_again_as_it_is(trained, tmp_path, here):
    ended = here("train-ctr", trained[0] / "spec.resolved.yaml", "--dry-run", cwd=tmp_path)
    assert ended.code == 0, ended.err


def test_validate_tells_faults_of_the_data_and_exits_3(data, tmp_path, here):
    table = pq.read_table(data / "train.parquet")
    labels = table["click"].to_numpy().copy()
    labels[6] = 5
    bad = table.set_column(table.column_names.index("click"), "click", pa.array(labels))
    pq.write_table(bad, tmp_path / "bad.parquet")
    ended = here("validate", data / "spec.yaml", "--train", "bad.parquet", "--json", cwd=tmp_path)
    assert ended.code == 3
    found = json.loads(ended.out)
    assert found["ok"] is False
    assert "bad.parquet, row 7" in found["faults"][0]


def test_a_dry_run_takes_a_step_and_writes_nothing(data, tmp_path, here):
    ended = here("train-ctr", data / "spec.yaml", "--dry-run", cwd=tmp_path)
    assert (ended.code, ended.out) == (0, "")
    assert "loss 0." in ended.err
    assert list(tmp_path.iterdir()) == []


def test_json_of_training_is_one_document(data, tmp_path):
    ended = rechub("train-ctr", data / "spec.yaml", "--json", "-q", "--epochs", "1", "--set", "model.name=lr",
                   "--set", "model.params=null", "--set", "data.cache=off", cwd=tmp_path)  # fmt: skip
    assert ended.code == 0, ended.err
    found = json.loads(ended.out)
    assert (tmp_path / found["run"] / "run.json").is_file()
    assert len(found["epochs"]) == 1
    assert ended.err == ""


def test_a_kept_column_cannot_have_the_name_of_the_predictions(trained, data, here):
    run, _ = trained
    ended = here("predict", run, "-d", data / "test.csv", "-o", "s.csv", "--keep", "user_id,score", cwd=data)
    assert ended.code == 2
    assert "--keep score: the predictions are called score; rename the column" in ended.err
    assert not (data / "s.csv").exists()


@pytest.mark.parametrize("command", ["train-ctr", "predict"])
def test_no_command_imports_the_compiler(command, trained, data, tmp_path):
    """It takes a second and more, at every start."""
    script = "import sys; from rechub_cli.cli import app; code = app.run(); assert 'torch._dynamo' not in sys.modules"
    arguments = {
        "train-ctr": ["train-ctr", data / "spec.yaml", "-o", "run", "--set", "trainer.n_epoch=1"],
        "predict": ["predict", trained[0], "--data", data / "test.parquet", "-o", "scores.csv"],
    }[command]
    ended = subprocess.run([sys.executable, "-c", f"{script}; sys.exit(code)", *map(str, arguments)], cwd=tmp_path)
    assert ended.returncode == 0
