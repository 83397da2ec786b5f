"""Commands that are told to stop while they work or wait."""

import os
import signal
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest


@pytest.fixture(scope="module")
def run(world):
    assert world.run("train-ctr", "train-ctr-steps.yaml", "-q", "-o", "stopping/run").code == 0
    return world.folder / "stopping" / "run"


@pytest.fixture(scope="module")
def many(world):
    table = pa.concat_tables([pq.read_table(world.folder / "log.parquet")] * 300)
    pq.write_table(table, world.folder / "many.parquet")
    return "many.parquet"


def until(met, seconds=60):
    deadline = time.monotonic() + seconds
    while not met() and time.monotonic() < deadline:
        time.sleep(0.01)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 143)])
def test_predict_that_is_stopped_leaves_the_old_output(world, run, many, place, number, code):
    target = place / "scores.parquet"
    target.write_bytes(b"old")
    call = ("predict", run, "--data", many, "--batch-size", "64", "-o", target, "--overwrite")
    child = world.start(*call)
    until(lambda: len(list(place.iterdir())) > 1)
    child.kill(number)
    assert child.wait() == code, (world.folder / "err").read_text()
    assert target.read_bytes() == b"old"
    assert [path.name for path in place.iterdir()] == ["scores.parquet"]


def test_a_second_signal_stops_at_once(world, run, many, place):
    child = world.start("predict", run, "--data", many, "--batch-size", "16", "-o", place / "scores.parquet")
    until(lambda: list(place.iterdir()))
    child.kill(signal.SIGSTOP)  # so that both are there before it can look
    child.kill(signal.SIGTERM)
    child.kill(signal.SIGINT)
    child.kill(signal.SIGCONT)
    assert child.wait() in (130, 143)
    assert not (place / "scores.parquet").exists()


def test_waiting_for_rows_ends_with_a_signal(world, run, place):
    """Nothing comes through the pipe: only the signal can end the wait."""
    pipe = place / "pipe"
    os.mkfifo(pipe)
    keeper = os.open(pipe, os.O_RDWR)
    os.write(keeper, b"user_id,item_id,city,price,ts\n")
    try:
        child = world.start("predict", run, "--data", "-", "-o", place / "scores.csv", input=pipe)
        until(lambda: ".scores.csv" in " ".join(path.name for path in place.iterdir()), 30)
        child.kill(signal.SIGTERM)
        assert child.wait() == 143, (world.folder / "err").read_text()
    finally:
        os.close(keeper)
    assert [path.name for path in place.iterdir()] == ["pipe"]
