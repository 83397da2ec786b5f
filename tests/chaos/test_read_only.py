"""A file system that is mounted read-only, where we may mount one: even root cannot write there."""

import os
import subprocess

import pytest
from chaos import tree


@pytest.fixture
def mounted(place):
    """A folder of its own file system, and what makes that read-only."""
    folder = place / "mounted"
    folder.mkdir()
    if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder]).returncode:
        pytest.skip("no leave to mount a file system")
    yield folder, lambda: subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.parametrize("output", ["run", "new/run"])
def test_a_training_into_it_is_told_before_anything_is_read(world, mounted, output):
    folder, close = mounted
    close()
    ended = world.run("train-ctr", "train-ctr-steps.yaml", "-o", folder / output)
    assert ended.code == 73
    assert [line for line in ended.err.splitlines() if line.startswith("error: ")] == ended.err.splitlines()[:1]
    assert str(folder) in ended.err
    assert "ead-only" in ended.err
    assert "Traceback" not in ended.err


def test_runs_that_lie_there_serve(world, place, mounted):
    folder, close = mounted
    clicks, items = folder / "clicks", folder / "items"
    assert world.run("train-ctr", "train-ctr-steps.yaml", "-q", "-o", clicks, "--epochs", "1").code == 0
    assert world.run("train-match", "train-match-in_batch.yaml", "-q", "-o", items, "--epochs", "1").code == 0
    close()
    before = tree(folder)
    vectors = place / "v.parquet"
    for call in (
        ("predict", clicks, "--data", "test.parquet", "-o", place / "scores.csv"),
        ("evaluate", clicks, "--data", "test.parquet", "--json"),
        ("embed", items, "--mode", "item", "-o", vectors),
        ("recommend", items, "--users", "test.parquet", "-o", place / "r.csv", "--embeddings", vectors),
        ("runs", "show", clicks),
    ):
        ended = world.run(*call)
        assert ended.code == 0, ended.err
        assert "warn" not in ended.err
    assert tree(folder) == before
    ended = world.run("predict", clicks, "--data", "test.parquet", "-o", folder / "scores.csv")
    assert (ended.code, f"cannot write {folder}" in ended.err) == (73, True), ended.err
    ended = world.run("train-ctr", "train-ctr-steps.yaml", "-o", clicks, "--resume", "must")
    assert (ended.code, "Traceback" in ended.err) == (73, False), ended.err
