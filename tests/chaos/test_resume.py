import hashlib
import json
import os
import shlex
import shutil
import signal

import pyarrow.parquet as pq
import pytest
from chaos import check_run, results, tree

from rechub_cli.run import Run

EPOCHS = ("--epochs", "6")
CALL = ("train-ctr", "train-ctr-stream.yaml", *EPOCHS)
SPECS = {
    "train-ctr": ("steps", signal.SIGTERM),
    "train-match": ("sampled", signal.SIGINT),
    "train-mtl": ("gradnorm", signal.SIGHUP),
}


@pytest.fixture(scope="session")
def whole(world):
    """The run of CALL, never interrupted."""
    assert world.run(*CALL, "-o", "whole/run").code == 0
    return world.folder / "whole" / "run"


@pytest.fixture(scope="session")
def broken_off(world):
    """A run of CALL that was interrupted after its first checkpoints; not to be changed."""
    run = world.folder / "broken" / "run"
    ended = world.stopped(signal.SIGTERM, run / "best", *CALL, "-o", run)
    assert ended.code == 143, ended.err
    return run


@pytest.fixture
def run(broken_off, place):
    """A copy of it."""
    return shutil.copytree(broken_off, place / "run")


def events(run):
    return [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("command", SPECS)
def test_a_signal_saves_and_stops_and_the_command_that_is_told_goes_on_to_the_same_end(world, place, command):
    name, number = SPECS[command]
    spec = f"{command}-{name}.yaml"
    assert world.run(command, spec, *EPOCHS, "-o", place / "whole" / "run").code == 0
    run = place / "stopped" / "run"
    ended = world.stopped(number, run / "last", command, spec, *EPOCHS, "-o", run)
    assert ended.code == (130 if number == signal.SIGINT else 143), ended.err
    assert ended.out == ""
    assert "received: finishing the batch, saving" in ended.err
    check_run(run)
    assert Run.open(run).info["status"] == "interrupted"
    last = events(run)[-1]
    assert last["event"] == "run.end"
    assert last["data"]["resume"] in ended.err
    ended = world.run(*shlex.split(last["data"]["resume"])[1:])
    assert (ended.code, ended.out) == (0, f"{run}\n"), ended.err
    assert results(run) == results(place / "whole" / "run")
    told = events(run)
    assert [event["seq"] for event in told] == list(range(1, len(told) + 1))
    epochs = [event["data"]["epoch"] for event in told if event["event"] == "epoch.end"]
    assert epochs == list(range(1, 7))
    assert "run.resumed" in (run / "train.log").read_text()


MODEL = """
from rechub_cli.models.ranking.lr import LR


class Mine(LR):
    pass
"""


def test_the_command_that_is_told_says_again_which_code_was_asked_for(world, place):
    (place / "mine.py").write_text(MODEL)
    run = place / "stopped" / "run"
    code = ("--set", f"model.name={place}/mine.py:Mine", "--set", "model.params={}")
    ended = world.stopped(signal.SIGTERM, run / "last", *CALL, *code, "-o", run)
    assert ended.code == 143, ended.err
    ended = world.run(*shlex.split(events(run)[-1]["data"]["resume"])[1:])
    assert (ended.code, ended.out) == (0, f"{run}\n"), ended.err


def test_a_finished_run_is_complete_and_stays_as_it_is(world, whole):
    before = tree(whole)
    for resume in ("auto", "must"):
        ended = world.run(*CALL, "-o", whole, "--resume", resume)
        assert (ended.code, ended.out) == (0, f"{whole}\n"), ended.err
    documents = [json.loads(world.run(*CALL, "-o", whole, "--resume", "auto", "--json").out)]
    assert len(documents[0]["epochs"]) == 6
    assert {path: state for path, state in tree(whole).items() if not path.endswith(".lock")} == {
        path: state for path, state in before.items() if not path.endswith(".lock")
    }


def test_there_must_be_something_to_resume(world, place):
    ended = world.run(*CALL, "-o", place / "none", "--resume", "must")
    assert ended.code == 66
    assert "nothing to resume" in ended.err
    assert not (place / "none").exists()


@pytest.mark.parametrize(
    "flags",
    [("--resume", "auto"), ("--resume", "yes", "-o", "x"), ("--resume", "must", "-o", "x", "--overwrite"),
     ("--allow-new-data", "-o", "x")],
)  # fmt: skip
def test_flags_that_do_not_go_together(world, flags):
    assert world.run(*CALL, *flags).code == 2


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--set", "trainer.batch_size=32"), "trainer.batch_size=32: is 32 now, and {run} was started with 64"),
        (("--lr", "0.5"), "lr: is 0.5 now, and {run} was started with 0.02"),
        (("--valid", "test.parquet"), 'test.parquet"] now, and {run} was started with ["valid.parquet"]'),
        (("--limit-rows", "50"), "--limit-rows is 50 now, and {run} was started with all rows"),
    ],
)
def test_what_a_resumed_run_may_not_change_is_told_with_both_values(world, run, flags, told):
    before = tree(run)
    ended = world.run(*CALL, *flags, "-o", run, "--resume", "must")
    assert ended.code == 78
    assert told.format(run=run) in ended.err
    assert {path for path, state in tree(run).items() if before[path] != state} <= {str(run / ".lock")}


def test_appended_values_that_are_said_again_are_not_appended_twice(world, place):
    call = ("train-ctr", "train-ctr-steps.yaml", "-q", "-o", place / "run", "--set", "trainer.metrics+=logloss")
    assert world.run(*call, "--resume", "auto").code == 0
    assert world.run(*call, "--resume", "auto").code == 0
    assert world.run(*call, "--resume", "auto", "--set", "trainer.metrics+=rmse").code == 78


def test_a_run_of_another_command_is_not_gone_on_with(world, run):
    ended = world.run("train-mtl", "train-mtl-uwl.yaml", "-o", run, "--resume", "auto")
    assert ended.code == 78
    assert "was made by rechub train-ctr" in ended.err


def test_more_epochs_go_on_where_the_run_ended(world, place):
    call = ("train-ctr", "train-ctr-history.yaml", "-q", "-o")
    assert world.run(*call, place / "a" / "run", "--epochs", "4").code == 0
    assert world.run(*call, place / "b" / "run", "--epochs", "2").code == 0
    ended = world.run(*call, place / "b" / "run", "--epochs", "4", "--resume", "auto")
    assert ended.code == 0, ended.err
    assert results(place / "a" / "run") == results(place / "b" / "run")
    assert Run.open(place / "b" / "run").info["spec"]["trainer"]["n_epoch"] == 4


def test_other_data_is_refused_unless_it_is_allowed(world, run):
    log = world.folder / "log.parquet"
    content, status = log.read_bytes(), log.stat()
    try:
        pq.write_table(pq.read_table(log).slice(100), log)
        ended = world.run(*CALL, "-o", run, "--resume", "must")
        assert ended.code == 78
        assert "the train data is not what" in ended.err
        assert "--allow-new-data" in ended.err
        before = (run / "encoder" / "encoder.json").read_bytes()
        ended = world.run(*CALL, "-o", run, "--resume", "must", "--allow-new-data")
        assert ended.code == 0, ended.err
        assert (run / "encoder" / "encoder.json").read_bytes() == before
    finally:
        log.write_bytes(content)
        os.utime(log, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_a_damaged_checkpoint_is_passed_over_with_a_warning(world, run, whole):
    last = (run / "last").read_text().strip()
    place = run / "checkpoints" / last / "state.safetensors"
    place.write_bytes(place.read_bytes()[:-1])
    ended = world.run(*CALL, "-o", run, "--resume", "must")
    assert ended.code == 0, ended.err
    assert f"checkpoint {last} is passed over" in ended.err
    assert results(run) == results(whole)


def test_a_run_that_died_before_its_first_checkpoint_starts_over(world, run, whole):
    for name in ("best", "last"):
        (run / name).unlink()
    shutil.rmtree(run / "checkpoints")
    (run / ".best.1.tmp").write_text("left by a kill")
    ended = world.run(*CALL, "-o", run, "--resume", "must")
    assert ended.code == 0, ended.err
    assert results(run) == results(whole)
    assert not (run / ".best.1.tmp").exists()


def test_a_run_in_use_is_busy(world, run):
    held = Run.reopen(run)
    try:
        ended = world.run(*CALL, "-o", run, "--resume", "auto")
        assert ended.code == 75
        assert "is in use by pid" in ended.err
    finally:
        held.close()


def deep(text: str) -> str:
    return text[:-1] + ', "deep": ' + "[" * 100_000 + "]" * 100_000 + "}"


def huge_header(content: bytes) -> bytes:
    return (2**62).to_bytes(8, "little") + content[8:]


HOSTILE = {
    "deep nesting": ("state.json", lambda content: deep(content.decode()).encode()),
    "no JSON": ("state.json", lambda content: b"\x80\x04cposix\nsystem\n(S'touch owned'\ntR."),
    "a number": ("state.json", lambda content: b"7"),
    "no position": ("state.json", lambda content: content.replace(b'"progress": {', b'"progres": {')),
    "a position of text": ("state.json", lambda content: content.replace(b'["epoch_step", ', b'["epoch_step", "1", ')),
    "a huge header": ("model.safetensors", huge_header),
    "other weights": ("model.safetensors", lambda content: content.replace(b'"F32"', b'"I32"')),
    "other shapes": ("state.safetensors", lambda content: content.replace(b'"shape":[8]', b'"shape":[4,2]')),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_checkpoint_is_a_data_error_and_runs_nothing(world, run, name):
    file, change = HOSTILE[name]
    last = run / "checkpoints" / (run / "last").read_text().strip()
    content = (last / file).read_bytes()
    changed = change(content)
    assert changed != content
    (last / file).write_bytes(changed)
    manifest = json.loads((last / "manifest.json").read_text())
    manifest["files"][file] = {"bytes": len(changed), "sha256": hashlib.sha256(changed).hexdigest()}
    (last / "manifest.json").write_text(json.dumps(manifest))
    for other in (run / "checkpoints").iterdir():
        if other != last and name != "no position":
            shutil.rmtree(other)
    (last / "manifest.json").write_text(json.dumps(manifest | {"best": last.name}))
    ended = world.run(*CALL, "-o", run, "--resume", "must")
    assert "Traceback" not in ended.err
    if name == "no position":  # nothing to go on from: it starts over
        assert ended.code == 0
    else:
        assert ended.code == 65, ended.err
        assert str(last) in ended.err or "the saved state does not fit" in ended.err
