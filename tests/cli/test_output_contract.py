"""Promises of the command line that are easily broken: flags that meet, streams that are gone, gates, code of a run."""

import datetime
import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from real_command import SPEC, environment, rechub, write_data

import rechub_cli
from rechub_cli.cli.environment import settle_environment
from rechub_cli.errors import DataError
from rechub_cli.run import Run

METRIC = """\
class Hits:
    higher_is_better = True
    tasks = ("classification",)
    needs_group = False

    def __call__(self, labels, scores, weights=None, group=None):
        return float(((scores > 0.5) == labels).mean())
"""


def shell(script: str, cwd, **env: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        ["bash", "-c", script.replace("rechub", f"{sys.executable} -m rechub_cli")],
        cwd=cwd, capture_output=True, text=True, env=environment(**env), check=False,
    )  # fmt: skip


def test_quiet_covers_remarks_on_the_environment_and_a_level_can_be_set(here, data):
    assert here("version", "-q", cwd=data, RECHUB_NIX="1").err == ""
    event = json.loads(here("version", "--log-format", "json", cwd=data, RECHUB_NIX="1").err)
    assert event["event"] == "warning"
    ended = here("validate", "spec.yaml", "--log-format", "json", cwd=data, RECHUB_LOG_LEVEL="error")
    assert (ended.code, ended.err) == (0, "")
    ended = here("version", cwd=data, RECHUB_LOG_LEVEL="loud")
    assert (ended.code, "RECHUB_LOG_LEVEL is 'loud'" in ended.err) == (2, True)


def test_an_error_is_one_event_and_numbered_after_the_others(here, data, tmp_path):
    arguments = ["train-ctr", data / "spec.yaml", "-o", "run", "--set", "trainer.optimizer=sgd", "--lr", "1e38"]
    ended = here(*arguments, "--log-format", "json", "--log-file", "log", cwd=tmp_path)
    events = [json.loads(line) for line in ended.err.splitlines()]
    assert ended.code == 1
    assert [event["event"] for event in events].count("error") == 1
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert {event["run"] for event in events[1:]} == {"run"}
    assert [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()] == events


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["train-ctr", "spec.yaml", "-o", "-"], "run directory"),
        (["predict", ".", "-d", "test.csv", "-o", "-", "--json"], "--json"),
        (["evaluate", ".", "-d", "test.csv", "--require", "auc"], "--require 'auc'"),
        (["evaluate", ".", "-d", "test.csv", "--fail-if", "auc <"], "--fail-if 'auc <'"),
    ],
)
def test_flags_that_make_no_sense_are_usage(arguments, text, here, data):
    before = sorted(data.rglob("*"))
    ended = here(*arguments, cwd=data)
    assert (ended.code, ended.out) == (2, "")
    assert text in ended.err
    assert sorted(data.rglob("*")) == before


def test_init_as_a_document(here, data):
    ended = here("init", "train.parquet", "--json", cwd=data)
    assert "features:" in json.loads(ended.out)["spec"]


def test_gates_let_pass_or_exit_3_and_say_the_value(here, trained, data):
    good = ["--require", "AUC in 0.5..1", "--fail-if", "auc < 0.5", "--fail-if", "logloss in 5..6"]
    ended = here("evaluate", trained[0], "-d", "test.parquet", *good, "--json", cwd=data)
    assert ended.code == 0, ended.err
    assert [gate["passed"] for gate in json.loads(ended.out)["gates"]] == [True] * 3
    ended = here("evaluate", trained[0], "-d", "test.parquet", "--fail-if", "auc > 0.5", cwd=data)
    assert ended.code == 3
    assert "--fail-if 'auc > 0.5': auc is 0." in ended.err


def test_a_metric_that_is_undefined_passes_no_gate(here, trained, data, tmp_path):
    table = pq.read_table(data / "test.parquet")
    pq.write_table(table.filter(np.equal(table["click"].to_numpy(), 1)), tmp_path / "ones.parquet")
    for gate in (["--require", "auc <= 1"], ["--require", "auc != 0"], ["--fail-if", "auc > 1"]):
        ended = here("evaluate", trained[0], "-d", "ones.parquet", *gate, cwd=tmp_path)
        assert (ended.code, "auc is undefined" in ended.err) == (3, True)


def test_a_live_run_is_busy_even_where_nothing_may_be_overwritten(here, data, tmp_path):
    holder = Run.create(str(tmp_path / "run"), "lr")
    assert here("train-ctr", data / "spec.yaml", "-o", "run", cwd=tmp_path).code == 75
    holder.close()
    assert here("train-ctr", data / "spec.yaml", "-o", "run", cwd=tmp_path).code == 73


def test_a_device_that_is_not_there_is_found_before_any_row_is_read(here, data, tmp_path, monkeypatch):
    monkeypatch.setattr("rechub_cli.data.encoder.Encoder.fit", lambda *_, **__: pytest.fail("read the rows"))
    for more in ([], ["--dry-run"]):
        ended = here("train-ctr", data / "spec.yaml", "--device", "cuda:9", *more, cwd=tmp_path)
        assert (ended.code, list(tmp_path.iterdir())) == (69, [])


@pytest.mark.parametrize("size", ["embed_dim=1000000000", "model.params.hidden_dims=3000000000"])
def test_a_model_too_large_for_the_machine_is_told_so(size, here, data, tmp_path):
    ended = here("train-ctr", data / "spec.yaml", "--set", size, cwd=tmp_path)
    assert ended.code == 1, ended.err
    assert "embed_dim" in ended.err
    assert list(tmp_path.iterdir()) == []


def test_metrics_of_ones_own_file_work_from_anywhere_and_need_leave_later(here, data, tmp_path):
    folder = tmp_path / "specs"
    shutil.copytree(data, folder)
    (folder / "hits.py").write_text(METRIC)
    (folder / "spec.yaml").write_text(SPEC.replace("metrics: [auc,", "metrics: [auc, './hits.py:Hits',"))
    ended = here("train-ctr", "specs/spec.yaml", "-o", "run", "--epochs", "1", cwd=tmp_path)
    assert ended.code == 0, ended.err
    assert json.loads((tmp_path / "run" / "run.json").read_text())["test"]["hits"] > 0.5
    (folder / "hits.py").unlink()
    refused = here("evaluate", "run", "-d", data / "test.csv", cwd=tmp_path)
    assert (refused.code, "--plugin" in refused.err) == (69, True)
    assert "hits" in here("evaluate", "run", "-d", data / "test.csv", "--plugin", cwd=tmp_path).out


def test_a_metric_written_into_a_run_is_not_imported(here, trained, data, tmp_path):
    shutil.copytree(trained[0], tmp_path / "run")
    (tmp_path / "evil.py").write_text("raise SystemExit('ran')")
    info = json.loads((tmp_path / "run" / "run.json").read_text())
    for name in ("./evil.py:X", "../evil.py:X", f"{tmp_path}/evil.py:X", "evil:X"):
        info["spec"]["trainer"]["metrics"] = [name]
        (tmp_path / "run" / "run.json").write_text(json.dumps(info))
        assert here("predict", "run", "-d", data / "test.csv", "-o", "s.csv", cwd=tmp_path).code == 69
        if ".py" in name:
            assert here("evaluate", "run", "-d", data / "test.csv", "--plugin", cwd=tmp_path).code in (65, 66)


def test_closed_streams_do_not_let_others_write_where_they_should_not(data, tmp_path):
    ended = shell(f"rechub train-ctr {data}/spec.yaml -o run --epochs 1 2>&-", tmp_path)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "run\n", "")
    shutil.rmtree(tmp_path / "run")
    ended = shell(f"rechub train-ctr {data}/spec.yaml -o run --epochs 1 -qq <&- >&- 2>&-", tmp_path)
    assert ended.returncode == 0
    for line in (tmp_path / "run" / "events.jsonl").read_text().splitlines():
        json.loads(line)


def test_names_that_are_no_text_in_this_locale_train_all_the_same(tmp_path):
    write_data(tmp_path)
    os.rename(tmp_path / "spec.yaml", tmp_path / "späc.yaml")
    script = "rechub train-ctr späc.yaml -o rün --epochs 1 --json > out"
    ended = shell(script, tmp_path, LC_ALL="C", PYTHONUTF8="0")
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "rün" / "run.json").is_file()


def test_a_bare_environment_is_enough(data, tmp_path):
    ended = shell(f"env -i PATH=$PATH rechub train-ctr {data}/spec.yaml -o run --epochs 1", tmp_path)
    assert (ended.returncode, ended.stdout) == (0, "run\n"), ended.stderr


def complete(words: str, cwd) -> list[str]:
    ended = rechub(
        cwd=cwd, script="from rechub_cli.cli.app import main; main()", _RECHUB_COMPLETE="complete_bash",
        COMP_WORDS=words, COMP_CWORD=str(len(words.split(" ")) - 1),
    )  # fmt: skip
    assert ended.code == 0, ended.err
    return ended.out.split()


def test_tab_completes_commands_models_runs_and_keys(data, tmp_path):
    assert complete("rechub tr", data) == ["train-ctr", "train-match", "train-mtl"]
    assert complete("rechub models show dee", data) == ["deepfm"]
    (tmp_path / "runs" / "one").mkdir(parents=True)
    (tmp_path / "runs" / "one" / "run.json").write_text("{}")
    assert complete("rechub evaluate r", tmp_path) == ["runs/one"]
    assert "trainer.n_epoch=" in complete("rechub train-ctr spec.yaml --set trainer.n", data)
    assert complete("rechub train-ctr spec.yaml -s model.params.hid", data) == ["model.params.hidden_dims="]


@pytest.mark.parametrize(
    ("env", "others", "expected"),
    [
        ({}, 0, {"GOMP_SPINCOUNT": "20000"}),
        ({}, 999, {"OMP_WAIT_POLICY": "passive"}),
        ({"OMP_WAIT_POLICY": "active"}, 999, {"OMP_WAIT_POLICY": "active"}),
        ({"GOMP_SPINCOUNT": "1"}, 999, {"GOMP_SPINCOUNT": "1"}),
    ],
)
def test_threads_spin_on_a_quiet_machine_sleep_on_a_busy_one_or_as_the_user_says(env, others, expected, monkeypatch):
    monkeypatch.setattr("rechub_cli.cli.environment.others_running", lambda: others)
    monkeypatch.setattr(os, "environ", dict(env))
    settle_environment()
    always = {"KINETO_LOG_LEVEL": "6", "THP_MEM_ALLOC_ENABLE": "1", "ARROW_DEFAULT_MEMORY_POOL": "system"}
    assert os.environ == always | expected


def test_threads_do_not_sleep_for_a_whole_run_because_of_one_that_ran_for_a_moment(monkeypatch):
    seen = iter([5, 5, 0])
    monkeypatch.setattr("rechub_cli.cli.environment.others_running", lambda: next(seen))
    monkeypatch.setattr(os, "environ", {})
    settle_environment()
    assert os.environ["GOMP_SPINCOUNT"] == "20000"


def test_a_dataframe_of_other_types_gets_the_same_scores(trained, data):
    model = rechub_cli.load(trained[0])
    table = pq.read_table(data / "test.parquet")
    expected = model.predict(table)
    frame = table.to_pandas()
    for changed in (
        frame.astype({"user_id": "category", "item_id": "int32", "price": "float32"}),
        frame.astype({"user_id": object, "item_id": float}),
        frame.convert_dtypes().drop(columns="click"),
        frame.sample(frac=1, random_state=0).sort_index(),
    ):
        np.testing.assert_allclose(model.predict(changed), expected, rtol=1e-5)
    with pytest.raises(DataError, match="one type"):
        model.predict(frame.assign(user_id=[{1}, *[2.5] * (len(frame) - 1)]))
    with pytest.raises(DataError):
        model.predict(pd.DataFrame(np.ones((2, 2)), columns=["a", "a"]))
    assert model.predict(pa.RecordBatch.from_pandas(frame)).shape == (500,)


def test_a_run_says_what_it_was_made_of(trained):
    info = json.loads((trained[0] / "run.json").read_text())
    assert {"torch", "rechub", "python"} <= info["versions"].keys()
    assert info["data"]["train"]["rows"] == 2000
    assert info["data"]["train"]["files"] == ["train.parquet"]
    assert len(info["data"]["valid"]["fingerprint"]) >= 32
    assert "git" in info


def test_days_in_paths(trained, data, tmp_path, here):
    shutil.copy(data / "test.csv", tmp_path / "log-2026-02-28.csv")
    arguments = ["-d", "log-{date-1}.csv", "-o", "scores-{date}.csv", "--date", "2026-03-01"]
    ended = here("predict", trained[0], *arguments, cwd=tmp_path)
    assert (ended.code, ended.out) == (0, "scores-2026-03-01.csv\n"), ended.err
    ended = here("predict", trained[0], *arguments[:-1], "tomorrow", cwd=tmp_path)
    assert (ended.code, "YYYY-MM-DD" in ended.err) == (2, True)
    today = f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}"
    assert today in here("evaluate", trained[0], "-d", "log-{date}.csv", cwd=tmp_path).err


def test_the_version_is_one_line(here, tmp_path):
    ended = here("--version", cwd=tmp_path)
    assert (ended.code, ended.err) == (0, "")
    assert re.fullmatch(r"rechub \d+\.\d+\.\d+\n", ended.out)
