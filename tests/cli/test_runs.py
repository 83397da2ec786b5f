"""``runs ls | show | compare | report | prune``: what is there, and what may go."""

import json
import subprocess
import sys
from datetime import UTC, datetime

import pytest
from real_command import environment
from test_terminal import ANSI, see

from rechub_cli.run import Run

HOLD = """
import sys, time
from rechub_cli.run import Run
run = Run.create(sys.argv[1], "lr")
print("held", flush=True)
time.sleep(100)
"""


@pytest.fixture
def holder(shelf):
    """A live process that writes runs/live."""
    code = [sys.executable, "-c", HOLD, str(shelf / "runs" / "live")]
    with subprocess.Popen(code, stdout=subprocess.PIPE, text=True, env=environment()) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def names(shelf):
    return {path.name for path in (shelf / "runs").iterdir() if path.is_dir() and not path.name.startswith(".")}


def change(run, **facts):
    info = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(info | facts))


def test_ls_says_what_each_run_is_newest_first(shelf, holder, here):
    runs = shelf / "runs"
    (runs / "torn").mkdir()
    (runs / "torn" / "run.json").write_text('{"format": 1, "stat')
    (runs / "odd").mkdir()
    (runs / "odd" / "run.json").write_text('{"format": 1, "status": "done", "best": 5, "spec": [1], "started": []}')
    (runs / "team" / "ctr" / "mine").mkdir(parents=True)
    (runs / "team" / "ctr" / "mine" / "events.jsonl").touch()
    (runs / "notes").mkdir()  # not a run
    change(runs / "b", status="running")  # nobody holds its lock
    assert here("publish", "c", "--as", "prod", cwd=shelf).code == 0
    found = json.loads(here("runs", "ls", "--json", cwd=shelf).out)
    statuses = {run["name"]: run["status"] for run in found["runs"]}
    assert statuses == {
        "live": "running", "torn": "damaged", "odd": "done", "team/ctr/mine": "damaged",
        "a": "done", "b": "died", "c": "done",
    }  # fmt: skip
    assert [run["name"] for run in found["runs"]][-3:] == ["c", "b", "a"]
    expected = json.loads((runs / "c" / "run.json").read_text())["best"]["val_auc"]
    (c,) = [run for run in found["runs"] if run["name"] == "c"]
    assert (c["model"], c["metric"], c["links"]) == ("deepfm", {"name": "val_auc", "value": expected}, ["prod"])
    text = here("runs", cwd=shelf)
    line = next(line for line in text.out.splitlines() if line.startswith("c "))
    assert line.split()[:5] == ["c", "done", "deepfm", "val_auc", f"{expected:.4f}"]
    assert text.err == ""
    assert [row.split()[0] for row in here("runs", "ls", "--status", "died", cwd=shelf).out.splitlines()] == [
        "RUN",
        "b",
    ]


def test_ls_at_a_terminal_keeps_within_its_width(shelf):
    code, shown = see(["runs", "ls"], shelf)
    assert code == 0
    assert "val_auc" in ANSI.sub("", shown)
    assert max(map(len, ANSI.sub("", shown).splitlines())) <= 110


def test_no_runs_are_no_lines(here, tmp_path):
    assert here("runs", cwd=tmp_path).out == ""
    assert json.loads(here("runs", "ls", "--json", cwd=tmp_path).out)["runs"] == []
    assert here("runs", "prune", "--keep", "1", cwd=tmp_path).code == 0
    assert here("runs", "show", "nix", cwd=tmp_path).code == 66


def test_show_says_where_it_came_from_and_when_it_was_published(shelf, here):
    assert here("publish", "a", "--as", "prod", cwd=shelf).code == 0
    facts = json.loads(here("runs", "show", "prod", "--json", cwd=shelf).out)["run"]
    assert (facts["name"], facts["status"], facts["data"]["train"]["rows"]) == ("a", "done", 2000)
    assert facts["published"][0]["name"] == "prod"
    assert facts["metrics"]["test_auc"] == json.loads((shelf / "runs" / "a" / "run.json").read_text())["test"]["auc"]
    lines = dict(line.split(maxsplit=1) for line in here("runs", "show", "a", cwd=shelf).out.splitlines())
    assert lines["model"] == "deepfm (train-ctr)"
    assert lines["train"].startswith("2,000 rows")
    (shelf / "runs" / "b" / "run.json").write_text("{")
    ended = here("runs", "show", "runs/b", cwd=shelf)
    assert (ended.code, "damaged" in ended.out) == (0, True)


def test_compare_shows_metrics_and_only_the_keys_that_differ(shelf, here):
    info = json.loads((shelf / "runs" / "b" / "run.json").read_text())
    info["spec"]["trainer"]["optimizer_params"]["lr"] = 0.5
    info["spec"]["features"].pop("price")
    change(shelf / "runs" / "b", spec=info["spec"], test={"auc": 0.25})
    found = json.loads(here("runs", "compare", "a", "runs/b", "--json", cwd=shelf).out)
    assert found["metrics"]["test_auc"][1] == 0.25
    assert found["metrics"]["test_logloss"][1] is None
    assert found["spec"]["trainer.optimizer_params.lr"] == [0.03, 0.5]
    assert {key.split(".")[1] for key in found["spec"]} == {"price", "optimizer_params"}
    assert found["data"] == {}
    text = here("runs", "compare", "a", "b", cwd=shelf).out
    assert "trainer.optimizer_params.lr" in text
    assert here("runs", "compare", "a", cwd=shelf).code == 2


def test_report_is_markdown_with_a_row_an_epoch(shelf, here):
    text = here("runs", "report", "a", cwd=shelf).out
    assert text.startswith("## a\n\n**deepfm** · done")
    assert "| valid | 500 |" in text
    assert len([line for line in text.splitlines() if line.startswith(("| 1", "| 2"))]) == 2
    assert text.count("★") == 1


def test_prune_leaves_what_is_published_was_published_is_latest_or_in_use(shelf, holder, here):
    for run in "abc":
        assert here("publish", run, "--as", "ctr/prod", cwd=shelf).code == 0
    dry = here("runs", "prune", "--keep", "0", "--dry-run", cwd=shelf)
    assert (dry.out, names(shelf)) == ("runs/a\n", {"a", "b", "c", "ctr", "live"})
    ended = here("runs", "prune", "--keep", "0", "--status", "done,died,damaged", "--json", cwd=shelf)
    found = json.loads(ended.out)
    assert [run["name"] for run in found["removed"]] == ["a"]
    reasons = {run["name"]: run["reason"] for run in found["kept"]}
    assert reasons == {"c": "is published as ctr/prod", "b": "was published before as ctr/prod"}
    assert names(shelf) == {"b", "c", "ctr", "live"}
    assert not list((shelf / "runs").glob(".*.pruned"))
    assert here("publish", "--as", "ctr/prod", "--rollback", cwd=shelf).code == 0


def test_prune_takes_what_all_conditions_hold_for(shelf, here):
    change(shelf / "runs" / "b", status="failed")
    Run.open(shelf / "runs" / "b").update(started=datetime.now(UTC).isoformat())
    assert here("runs", "prune", "--older-than", "1d", "--status", "failed", cwd=shelf).out == ""
    assert here("runs", "prune", "--older-than", "1m", "--keep", "2", cwd=shelf).out == "runs/a\n"
    assert here("runs", "prune", "--status", "failed", cwd=shelf).out == "runs/b\n"
    (shelf / "runs" / "c" / "run.json").write_text("")
    assert here("runs", "prune", "--keep", "0", cwd=shelf).out == ""
    assert here("runs", "prune", "--status", "damaged", cwd=shelf).out == "runs/c\n"


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        ([], "say what to remove"),
        (["--older-than", "soon"], "--older-than is 'soon'"),
        (["--status", "running"], "--status 'running'"),
        (["--keep", "-1"], "--keep is -1"),
    ],
)
def test_prune_asks_for_conditions_that_make_sense(shelf, here, flags, text):
    ended = here("runs", "prune", *flags, cwd=shelf)
    assert (ended.code, text in ended.err) == (2, True)


def test_a_run_that_died_a_minute_ago_may_be_alive_elsewhere(shelf, here):
    change(shelf / "runs" / "a", status="running")
    (shelf / "runs" / "a" / "events.jsonl").touch()
    assert here("runs", "prune", "--status", "died", cwd=shelf).out == ""


def test_tab_offers_published_names_and_runs(shelf, here):
    assert here("publish", "a", "--as", "ctr/prod", cwd=shelf).code == 0
    words = {"_RECHUB_COMPLETE": "complete_bash", "COMP_CWORD": "2"}
    assert here(cwd=shelf, COMP_WORDS="rechub evaluate ctr", **words).out.split() == ["ctr/prod"]
    assert here(cwd=shelf, COMP_WORDS="rechub predict runs/", **words).out.split() == ["runs/c", "runs/b", "runs/a"]
