"""``publish``: a name leads to a run, whatever happens meanwhile."""

import json
import multiprocessing
import os
import shutil

import pytest

import rechub_cli
from rechub_cli.errors import CheckFailed, NoInput
from rechub_cli.run import Run
from rechub_cli.run.events import Events
from rechub_cli.workflows.publish import publish


def read_history(shelf):
    return json.loads((shelf / "runs" / "ctr" / "prod.history.json").read_text())


def test_a_published_name_is_a_run_for_every_command_and_from_python(shelf, data, here):
    ended = here("publish", "runs/a", "--as", "ctr/prod", cwd=shelf)
    assert (ended.code, ended.out) == (0, "runs/ctr/prod\n")
    assert os.readlink(shelf / "runs" / "ctr" / "prod") == "../a"
    for run in ("ctr/prod", "runs/ctr/prod", "a"):
        scored = here("predict", run, "-d", data / "test.csv", "-o", "-", "--limit-rows", "3", cwd=shelf)
        assert (scored.code, len(scored.out.splitlines())) == (0, 4), scored.err
    assert rechub_cli.load("ctr/prod").run.path == shelf / "runs" / "a"
    moved = here("evaluate", "ctr/prod", "-d", data / "test.csv", "-q", cwd=data, RECHUB_RUNS_DIR=str(shelf / "runs"))
    assert (moved.code, moved.err) == (0, "")


def test_the_history_says_who_when_and_what_was_there_before_and_rollback_goes_back(shelf, here):
    for run in ("runs/a", "b", "runs/b", "runs/c"):
        assert here("publish", run, "--as", "ctr/prod", cwd=shelf).code == 0
    history = read_history(shelf)["history"]
    assert [(entry["run"], entry["replaced"]) for entry in history] == [("a", None), ("b", "a"), ("c", "b")]
    assert all(entry["at"].endswith("Z") and "@" in entry["by"] for entry in history)
    for expected, previous in (("b", "a"), ("a", None)):
        ended = here("publish", "--as", "ctr/prod", "--rollback", "--json", cwd=shelf)
        found = json.loads(ended.out)
        assert (found["run"], found["previous"]) == (expected, previous)
        assert Run.open("ctr/prod").path == shelf / "runs" / expected
    ended = here("publish", "--as", "ctr/prod", "--rollback", cwd=shelf)
    assert (ended.code, "no earlier run" in ended.err) == (3, True)
    assert read_history(shelf)["history"][-1]["action"] == "rollback"


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["runs/a"], 2, "--as is required"),
        (["--as", "prod"], 2, "RUN is required"),
        (["runs/a", "--as", "prod", "--rollback"], 2, "--rollback needs no RUN"),
        (["--as", "prod", "--rollback"], 3, "prod is not published"),
        (["runs/a", "--as", "../prod"], 2, "is no name"),
        (["runs/a", "--as", "latest"], 2, "moves by itself"),
        (["runs/a", "--as", "b"], 73, "exists and is no published name"),
        (["runs/a", "--as", "b/prod"], 73, "is a run"),
        (["runs/nix", "--as", "prod"], 66, "does not exist"),
    ],
)
def test_what_cannot_be_published(shelf, here, arguments, code, text):
    before = sorted(path.name for path in (shelf / "runs").iterdir())
    ended = here("publish", *arguments, cwd=shelf)
    assert (ended.code, ended.out) == (code, "")
    assert text in ended.err
    assert {path.name for path in (shelf / "runs").iterdir()} - {".publish.lock"} == set(before)


def test_only_a_run_that_is_done_and_whole_is_published(shelf, here):
    Run.open(shelf / "runs" / "a").update(status="interrupted")
    ended = here("publish", "runs/a", "--as", "prod", cwd=shelf)
    assert (ended.code, "is interrupted, not done" in ended.err) == (3, True)
    weights = next((shelf / "runs" / "b" / "checkpoints").glob("*/model.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    ended = here("publish", "runs/b", "--as", "prod", cwd=shelf)
    assert (ended.code, "model.safetensors is damaged" in ended.err) == (65, True)
    assert not (shelf / "runs" / "prod").is_symlink()


def test_a_reader_stays_with_the_run_it_opened(shelf, monkeypatch):
    monkeypatch.chdir(shelf)
    publish("runs/a", "prod", Events())
    run = Run.open("runs/prod")
    publish("runs/b", "prod", Events())
    assert run.path.name == "a"
    assert Run.open("runs/prod").path.name == "b"


def test_a_run_that_is_gone_is_told_and_not_gone_back_to(shelf, monkeypatch):
    monkeypatch.chdir(shelf)
    for run in "abc":
        publish(run, "prod", Events())
    shutil.rmtree(shelf / "runs" / "b")
    with pytest.raises(NoInput, match="does not exist"):
        publish(None, "prod", Events(), rollback=True)
    assert Run.open("prod").info["run"] == "c"
    shutil.rmtree(shelf / "runs" / "c")
    with pytest.raises(NoInput, match="which is gone"):
        Run.open("prod")


def test_the_link_is_the_truth_when_a_process_died_before_it_moved(shelf, monkeypatch):
    monkeypatch.chdir(shelf)
    for run in "ab":
        publish(run, "prod", Events())
    os.unlink("runs/prod")
    os.symlink("a", "runs/prod")  # as if the history of b had been written, and the link not yet moved
    with pytest.raises(CheckFailed, match="no earlier run"):
        publish(None, "prod", Events(), rollback=True)
    assert publish("c", "prod", Events()).previous == "a"


def test_a_published_run_is_not_overwritten(shelf, data, here):
    assert here("publish", "a", "--as", "prod", cwd=shelf).code == 0
    ended = here("train-ctr", data / "spec.yaml", "-o", "runs/a", "--overwrite", cwd=shelf)
    assert (ended.code, "published as prod" in ended.err) == (73, True)


def _publish_often(folder, runs):
    os.chdir(folder)
    for run in runs:
        publish(run, "ctr/prod", Events())


def test_publishers_wait_for_each_other_and_readers_always_find_a_run(shelf, monkeypatch):
    monkeypatch.chdir(shelf)
    publish("a", "ctr/prod", Events())
    context = multiprocessing.get_context("spawn")
    turns = ["b", "c", "a"] * 10
    others = [context.Process(target=_publish_often, args=(shelf, turns[place:])) for place in range(3)]
    for process in others:
        process.start()
    reads = 0
    while any(process.is_alive() for process in others):
        assert Run.open("ctr/prod").info["status"] == "done"
        assert (shelf / "runs" / "ctr" / "prod" / "encoder").is_dir()
        reads += 1
    assert [process.exitcode for process in others] == [0, 0, 0]
    assert reads > 10
    history = read_history(shelf)["history"]
    assert [entry["replaced"] for entry in history[1:]] == [entry["run"] for entry in history[:-1]]
