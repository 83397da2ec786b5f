import os
import subprocess

import pytest
from chaos import check_run, results

CALL = ("train-ctr", "train-ctr-steps.yaml", "-q")


@pytest.mark.parametrize("largest", [300, 20_000])
def test_a_full_disk_is_told_and_once_there_is_room_the_training_comes_to_the_same_end(world, place, largest):
    assert world.run(*CALL, "-o", place / "whole" / "run").code == 0
    run = place / "full" / "run"
    ended = world.run(*CALL, "-o", run, largest=largest)
    assert ended.code == 73, ended.err
    if largest > 1000:
        assert "cannot write" in ended.err
        assert "checkpoints" in ended.err
        assert "Traceback" not in ended.err
        check_run(run)
    ended = world.run(*CALL, "-o", run, "--resume", "auto")
    assert ended.code == 0, ended.err
    assert results(run) == results(place / "whole" / "run")


def test_a_disk_that_is_full_to_the_last_byte(world, place):
    """Where we may mount one: even the log has no room."""
    if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=160k", "tmpfs", place]).returncode:
        pytest.skip("no leave to mount a file system")
    try:
        ended = world.run("train-ctr", "train-ctr-steps.yaml", "-q", "-o", place / "run")
        assert ended.code == 73, ended.err
        assert "cannot write" in ended.err
        assert "Traceback" not in ended.err
        check_run(place / "run")
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def test_an_output_that_does_not_fit_leaves_the_old_one(world, place):
    run, target = place / "run", place / "scores.parquet"
    assert world.run(*CALL, "-o", run).code == 0
    target.write_bytes(b"old")
    call = ("predict", run, "--data", "log.parquet", "-o", target, "--overwrite")
    ended = world.run(*call, largest=3000)
    assert ended.code == 73
    assert "cannot write" in ended.err
    assert target.read_bytes() == b"old"
    assert [path.name for path in place.iterdir() if path.name.endswith(".tmp")] == []
