"""Rows are read by a process of its own while another imports torch: the faults and the end of either."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere one process does all")

SPEC = """\
data: {train: log.parquet}
features:
  user: {type: sparse}
  item: {type: sparse}
  price: {type: dense}
labels: {click: {type: classification}}
model: {name: lr}
trainer: {n_epoch: 1, device: cpu}
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A log whose reading takes a second at least, and a spec. A run in a folder of its own knows nothing of it yet."""
    folder = tmp_path_factory.mktemp("apart")
    rng, n = np.random.default_rng(0), 1_500_000
    users, items = (pa.array(rng.integers(0, 1_000_000, n)).cast(pa.string()) for _ in range(2))
    columns = {"user": users, "item": items, "price": rng.random(n), "click": rng.integers(0, 2, n)}
    pq.write_table(pa.table(columns), folder / "log.parquet")
    (folder / "spec.yaml").write_text(SPEC)
    return folder


def start(place, *more):
    command = [sys.executable, "-m", "rechub_cli", "train-ctr", "spec.yaml", "--log-format", "json", *more]
    return subprocess.Popen(command, cwd=place, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def reader_of(process):
    """The id of the process that reads, a copy of the command."""
    own, children = Path(f"/proc/{process.pid}"), Path(f"/proc/{process.pid}/task/{process.pid}/children")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError):
            for child in children.read_text().split():
                time.sleep(0.02)  # any child is such a copy at first
                if Path("/proc", child, "cmdline").read_bytes() == (own / "cmdline").read_bytes():
                    return int(child)
        time.sleep(0.005)
    pytest.fail("no process reads")


def lives(pid):
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def gone(pid):
    deadline = time.monotonic() + 10
    while lives(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not lives(pid)


def test_what_was_read_is_what_one_process_finds(place):
    other = "import sys, torch; from rechub_cli.cli.app import main; sys.argv[0] = 'rechub'; main()"
    call = ["train-ctr", "spec.yaml", "--limit-rows", "20000", "--seed", "1", "-o"]
    for how in (["-m", "rechub_cli", *call, "apart/run"], ["-c", other, *call, "together/run"]):  # a cache for each
        subprocess.run([sys.executable, *how], cwd=place, check=True, stdout=subprocess.DEVNULL)
    for file in ("encoder/encoder.json", "checkpoints/step-0000005/model.safetensors"):
        apart, together = ((place / one / "run" / file).read_bytes() for one in ("apart", "together"))
        assert apart == together, file
    first, second = (json.loads((place / one / "run" / "run.json").read_text()) for one in ("apart", "together"))
    assert first["cache"] == second["cache"]


def test_its_fault_is_told_as_the_commands_own(place):
    table = pq.read_table(place / "log.parquet").slice(0, 1000)
    labels = [*[0, 1] * 400, 7, *[0] * 199]
    pq.write_table(table.set_column(3, "click", pa.array(labels)), place / "bad.parquet")
    with start(place, "--train", "bad.parquet", "-o", "bad/run") as process:
        err = process.communicate(timeout=60)[1]
    assert process.returncode == 65, err
    assert "bad.parquet" in err
    assert "row 801" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_both(place, number, code):
    with start(place, "-o", f"stopped-{code}/run") as process:
        reader = reader_of(process)
        process.send_signal(number)
        assert process.wait(60) == code
    assert not lives(reader)


def test_what_it_was_writing_is_removed(place):
    """A signal while rows are encoded, which are written down as they are."""
    half = place / "half" / ".cache"  # not of this run alone, which would remove all of it
    half.mkdir(parents=True)
    with start(place, "-o", "half/run") as process:
        deadline = time.monotonic() + 60
        while not list(half.glob("*.tmp/rows.bin")) and time.monotonic() < deadline:
            time.sleep(0.002)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    assert not list(half.glob("*.tmp"))


def test_it_ignores_what_a_terminal_sends_to_all(place):
    """Its parent answers Ctrl-C, once."""
    with start(place, "-o", "terminal/run") as process:
        reader = reader_of(process)
        time.sleep(0.1)  # it has begun
        os.kill(reader, signal.SIGINT)
        os.kill(reader, signal.SIGTERM)
        err = process.communicate(timeout=120)[1]
    assert process.returncode == 0, err


def test_it_does_not_outlive_its_parent(place):
    with start(place, "-o", "killed/run") as process:
        reader = reader_of(process)
        time.sleep(0.1)
        process.kill()
    assert gone(reader)
    with start(place, "-o", "killed/run", "--overwrite", "--limit-rows", "1000") as again:
        err = again.communicate(timeout=60)[1]
    assert again.returncode == 0, err


def test_that_it_was_killed_is_told(place):
    with start(place, "-o", "lost/run") as process:
        os.kill(reader_of(process), signal.SIGKILL)
        err = process.communicate(timeout=60)[1]
    assert process.returncode == 1, err
    assert "Killed" in err
    assert "memory" in err
    assert "Traceback" not in err
    assert not (place / "lost" / "run").exists()


def test_an_error_that_cannot_be_sent_is_told_by_its_message():
    script = """
from rechub_cli.apart import apart

class Odd(Exception):
    def __init__(self, place, what):
        super().__init__(f"{what} at {place}")

def work(told):
    raise Odd(7, "mist")
    yield

try:
    next(apart(work, print))
except Exception as error:
    print(type(error).__name__, error)
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert (ended.stdout, ended.stderr) == ("RunFailed Odd: mist at 7\n", "")


@pytest.fixture(scope="module")
def run(place):
    call = ["train-ctr", "spec.yaml", "--limit-rows", "20000", "--seed", "1", "-o", "scored/run"]
    subprocess.run([sys.executable, "-m", "rechub_cli", *call], cwd=place, check=True, stdout=subprocess.DEVNULL)
    return "scored/run"


def predict(place, run, data, output):
    call = ["predict", run, "--data", data, "--keep", "user", "--keep", "price", "-o", output, "--log-format", "json"]
    command = [sys.executable, "-m", "rechub_cli", *call]
    return subprocess.Popen(command, cwd=place, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_scores_of_rows_read_apart_are_those_of_one_process(place, run):
    other = "import sys, torch; from rechub_cli.cli.app import main; sys.argv[0] = 'rechub'; main()"
    call = ["predict", run, "--data", "log.parquet", "--keep", "user", "--keep", "price", "-o"]
    for how in (["-m", "rechub_cli", *call, "apart.parquet"], ["-c", other, *call, "together.parquet"]):
        subprocess.run([sys.executable, *how], cwd=place, check=True, stdout=subprocess.DEVNULL)
    found, log = pq.read_table(place / "apart.parquet"), pq.read_table(place / "log.parquet")
    assert found.equals(pq.read_table(place / "together.parquet"))
    assert found.select(["user", "price"]).equals(log.select(["user", "price"]))


def test_a_fault_in_rows_read_apart_is_told_as_the_commands_own(place, run):
    lines = (f"{i % 7},{i % 5},{'dear' if i == 90_000 else i}" for i in range(100_000))
    (place / "bad.csv").write_text("\n".join(["user,item,price", *lines]))
    with predict(place, run, "bad.csv", "bad-scores.parquet") as process:
        err = process.communicate(timeout=60)[1]
    assert process.returncode == 65, err
    assert "price" in err
    assert "Traceback" not in err
    assert not (place / "bad-scores.parquet").exists()


def test_a_reader_that_was_killed_leaves_no_scores(place, run):
    with predict(place, run, "log.parquet", "lost.parquet") as process:
        os.kill(reader_of(process), signal.SIGKILL)
        err = process.communicate(timeout=60)[1]
    assert process.returncode == 1, err
    assert "Killed" in err
    assert "Traceback" not in err
    assert not list(place.glob("lost.parquet*"))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_a_reader_ends_with_the_scoring(place, run, number, code):
    with predict(place, run, "log.parquet", "ended.parquet") as process:
        reader = reader_of(process)
        process.send_signal(number)
        assert process.wait(60) == code
    assert gone(reader)
    assert not (place / "ended.parquet").exists()


def test_a_model_that_cannot_be_loaded_ends_the_reader(place, run):
    kept = place / run / "checkpoints"
    kept.rename(place / "elsewhere")
    try:
        with predict(place, run, "log.parquet", "none.parquet") as process:
            err = process.communicate(timeout=60)[1]
    finally:
        (place / "elsewhere").rename(kept)
    assert process.returncode == 66, err
    assert "Traceback" not in err


def test_it_works_ahead_by_so_many_bytes_and_no_more():
    script = """
import os, time
from rechub_cli.apart import apart

def work(told):
    for number in range(20):
        os.write(w, b".")
        yield bytes(1_000_000)

r, w = os.pipe()
items = apart(work, print, ahead=3_000_000)
made = 0
while made < 3:
    made += len(os.read(r, 100))
time.sleep(0.3)  # in which it could do more
os.set_blocking(r, False)
try:
    made += len(os.read(r, 100))
except BlockingIOError:
    pass
taken = sum(len(item) for item in items)
print(made, taken, len(os.read(r, 100)))
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert (ended.stdout, ended.stderr) == ("3 20000000 17\n", "")
