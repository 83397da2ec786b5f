"""``cache ls`` and ``prune``: what is removed, and what a training that reads it keeps."""

import gc
import json
import os
import shutil
import time

import pytest

from rechub_cli.data.blocks import Blocks
from rechub_cli.data.cache_locks import hold


@pytest.fixture
def cached(shelf, trained):
    """runs/a, b and c beside the caches of their rows: (folder, train's cache, valid's cache)"""
    shutil.copytree(trained[0].parent / ".cache", shelf / "runs" / ".cache")
    keys = json.loads((shelf / "runs" / "a" / "run.json").read_text())["cache"]
    shutil.rmtree(shelf / "runs" / ".cache" / keys["encoder"])
    (shelf / "runs" / ".cache" / f"{keys['encoder']}.lock").unlink()
    return shelf, shelf / "runs" / ".cache" / keys["train"], shelf / "runs" / ".cache" / keys["valid"]


def unused_for(cache, days):
    moment = time.time() - days * 86_400
    os.utime(cache / "header.json", (moment, moment))


def test_ls_says_what_each_cache_holds_and_for_whom(cached, here):
    folder, _, valid = cached
    unused_for(valid, 3)
    found = json.loads(here("cache", "ls", "--json", cwd=folder).out)
    assert [one["rows"] for one in found["caches"]] == [2000, 500]
    assert found["caches"][0]["data"] == [f"train of {run}: train.parquet" for run in "cba"]
    assert found["bytes"] == sum(file.stat().st_size for file in (folder / "runs" / ".cache").rglob("*.[bj]*"))
    lines = here("cache", cwd=folder).out.splitlines()
    assert lines[2].split(maxsplit=5) == [
        f"runs/.cache/{valid.name}", "500", *lines[2].split()[2:4], "3d", "valid of c: valid.parquet (and 2 more)",
    ]  # fmt: skip


def test_the_encoder_is_listed_and_removed_as_rows_are(shelf, trained, here):
    shutil.copytree(trained[0].parent / ".cache", shelf / "runs" / ".cache")
    key = json.loads((shelf / "runs" / "a" / "run.json").read_text())["cache"]["encoder"]
    found = json.loads(here("cache", "ls", "--json", cwd=shelf).out)["caches"]
    assert [(one["rows"], one["data"][0]) for one in found if one["path"].endswith(key)] == [
        (2000, "encoder of c: train.parquet")
    ]
    assert here("cache", "prune", "--all", cwd=shelf).code == 0
    assert list((shelf / "runs" / ".cache").iterdir()) == []


def test_prune_takes_what_is_old_or_too_much(cached, here):
    folder, train, valid = cached
    unused_for(train, 40)
    dry = here("cache", "prune", "--older-than", "30d", "--dry-run", cwd=folder)
    assert (dry.out, train.is_dir()) == (f"runs/.cache/{train.name}\n", True)
    assert here("cache", "prune", "--older-than", "50d", cwd=folder).out == ""
    assert here("cache", "prune", "--max-size", "1GB", cwd=folder).out == ""
    size = sum(file.stat().st_size for file in valid.iterdir())
    assert here("cache", "prune", "--max-size", str(size), cwd=folder).out == f"runs/.cache/{train.name}\n"
    assert (train.exists(), valid.exists()) == (False, True)
    assert here("cache", "prune", "--all", cwd=folder).out == f"runs/.cache/{valid.name}\n"
    assert list((folder / "runs" / ".cache").iterdir()) == []
    assert here("cache", "prune", cwd=folder).code == 2
    assert here("cache", "prune", "--max-size", "much", cwd=folder).code == 2


def test_a_cache_that_is_read_stays(cached, here):
    folder, train, valid = cached
    blocks = Blocks.open(train)
    hold(blocks, train)
    ended = here("cache", "prune", "--all", cwd=folder)
    assert ended.out == f"runs/.cache/{valid.name}\n"
    assert f"{train.name} is in use" in ended.err
    assert json.loads(here("cache", "ls", "--json", cwd=folder).out)["caches"][0]["in_use"] is True
    del blocks
    gc.collect()
    assert here("cache", "prune", "--all", cwd=folder).out == f"runs/.cache/{train.name}\n"


def test_what_killed_processes_left_is_removed(cached, here):
    folder, train, valid = cached
    train.rename(train.with_suffix(".tmp"))
    valid.rename(valid.with_name(f".{valid.name}.1.pruned"))
    found = json.loads(here("cache", "ls", "--json", cwd=folder).out)["caches"]
    assert len(found) == 2
    assert len(here("cache", "prune", "--all", cwd=folder).out.splitlines()) == 2
    assert [path for path in (folder / "runs" / ".cache").iterdir() if path.is_dir()] == []
