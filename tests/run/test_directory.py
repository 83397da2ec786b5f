import json
import os
import subprocess
import sys

import pytest

from rechub_cli.errors import Busy, CannotCreate, DataError, NoInput
from rechub_cli.run import Run

HOLD = """
import sys, time
from rechub_cli.run import Run
run = Run.create(sys.argv[1], "lr")
print("held", flush=True)
time.sleep(60)
"""


def test_a_new_run_has_a_name_of_its_own_and_is_running(tmp_path):
    one = Run.create(None, "DeepFM", runs_dir=str(tmp_path / "runs"))
    two = Run.create(None, "./my models/net.py:Net", runs_dir=str(tmp_path / "runs"))
    assert one.name != two.name
    assert "-deepfm-" in one.name
    assert "-net-" in two.name
    assert json.loads((one.path / "run.json").read_text())["status"] == "running"
    one.close()
    two.close()


def test_latest_moves_only_when_a_run_is_done(tmp_path):
    first = Run.create(None, "lr", runs_dir=str(tmp_path))
    first.finish("done", 0)
    second = Run.create(None, "lr", runs_dir=str(tmp_path))
    second.finish("failed", 1)
    assert (tmp_path / "latest").resolve() == first.path.resolve()
    third = Run.create(None, "lr", runs_dir=str(tmp_path))
    third.finish("done", 0)
    assert (tmp_path / "latest").resolve() == third.path.resolve()


def test_a_folder_in_use_is_left_alone_without_overwrite(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("mine")
    with pytest.raises(CannotCreate, match="not empty; use --overwrite"):
        Run.create(str(tmp_path / "run"), "lr")
    with pytest.raises(CannotCreate, match="not a run directory"):
        Run.create(str(tmp_path / "run"), "lr", overwrite=True)
    with pytest.raises(CannotCreate, match="is a file"):
        Run.create(str(tmp_path / "run" / "thesis.txt"), "lr", overwrite=True)
    assert (tmp_path / "run" / "thesis.txt").read_text() == "mine"


def test_an_overwritten_run_comes_back_if_the_new_one_does_not_start(tmp_path):
    old = Run.create(str(tmp_path / "run"), "lr")
    old.finish("done", 0, note="old")
    old.close()
    new = Run.create(str(tmp_path / "run"), "lr", overwrite=True)
    assert "note" not in Run.open(tmp_path / "run").info
    new.discard()
    assert Run.open(tmp_path / "run").info["note"] == "old"
    new = Run.create(str(tmp_path / "run"), "lr", overwrite=True)
    new.finish("done", 0)
    assert "note" not in Run.open(tmp_path / "run").info
    assert sorted(path.name for path in tmp_path.iterdir()) == ["latest", "run"]


def test_discarding_leaves_no_trace_of_the_folders_made_for_it(tmp_path):
    run = Run.create(str(tmp_path / "a" / "b" / "run"), "lr")
    run.cache.mkdir()
    run.discard()
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_another_process_writes_is_busy_until_that_dies(tmp_path):
    code = [sys.executable, "-c", HOLD, str(tmp_path / "run")]
    with subprocess.Popen(code, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(Busy, match=f"in use by pid {holder.pid} on .* use --wait 600"):
            Run.create(str(tmp_path / "run"), "lr", overwrite=True)
        holder.kill()
    Run.create(str(tmp_path / "run"), "lr", overwrite=True).close()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": "x"}', '{"status": "done"}'])
def test_a_damaged_record_is_a_data_error(tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(DataError, match=r"run\.json"):
        Run.open(tmp_path)


def test_a_later_format_says_to_update(tmp_path):
    (tmp_path / "run.json").write_text('{"format": 99}')
    with pytest.raises(DataError, match="update rechub"):
        Run.open(tmp_path)


def test_what_is_no_run_is_no_input(tmp_path):
    with pytest.raises(NoInput, match="does not exist"):
        Run.open(tmp_path / "nothing")
    with pytest.raises(NoInput, match=r"has no run\.json"):
        Run.open(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_no_permission_is_told_as_such(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(CannotCreate, match="Permission denied"):
        Run.create(str(tmp_path / "run"), "lr")


def test_a_link_to_a_run_is_never_overwritten(tmp_path):
    Run.create(str(tmp_path / "run"), "lr").finish("done", 0)
    with pytest.raises(CannotCreate, match="link"):
        Run.create(str(tmp_path / "latest"), "lr", overwrite=True)
    assert (tmp_path / "latest" / "run.json").is_file()


def test_a_discarded_run_leaves_the_cache_to_other_runs(tmp_path):
    one, other = (Run.create(str(tmp_path / name), "lr") for name in ("one", "other"))
    one.cache.mkdir()
    one.discard()
    assert one.cache.is_dir()
    other.discard()
    assert list(tmp_path.iterdir()) == []


def killed_while_replacing(tmp_path):
    """A run that was done, moved aside by one that was killed."""
    Run.create(str(tmp_path / "run"), "lr").finish("done", 0, note="old")
    Run.create(str(tmp_path / "run"), "lr", overwrite=True).close()
    (tmp_path / ".run.json.5.replaced").mkdir()  # of a run called run.json
    (tmp_path / "run" / ".best.7.tmp").write_text("half")
    run = Run.reopen(tmp_path / "run")
    run.sweep()
    assert not (tmp_path / "run" / ".best.7.tmp").exists()
    return run


def test_a_run_that_a_killed_one_moved_aside_goes_once_the_new_one_is_done(tmp_path):
    killed_while_replacing(tmp_path).finish("done", 0)
    assert "note" not in Run.open(tmp_path / "run").info
    assert sorted(path.name for path in tmp_path.iterdir()) == [".run.json.5.replaced", "latest", "run"]


def test_a_run_that_a_killed_one_moved_aside_comes_back_if_the_new_one_does_not_start(tmp_path):
    killed_while_replacing(tmp_path).discard()
    assert Run.open(tmp_path / "run").info["note"] == "old"


def test_a_folder_with_but_the_traces_of_a_killed_start_is_free(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock").write_text("pid 1")
    (tmp_path / "run" / ".run.json.5.tmp").write_text("{")
    Run.create(str(tmp_path / "run"), "lr").finish("done", 0)
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [".lock", "run.json"]
