"""The benchmarks' own parts: the report says what the lines hold, and the data is the same each time."""

import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
MACHINE = {"cpu": "a processor", "cores": 2, "memory_gb": 8.0, "system": "Linux", "python": "3.11.7"}
VERSIONS = {"rechub": "0.1.0", "commit": "abc1234", "torch": "2.13.0", "torch-rechub": "0.9.0"}


def line(measure, number, results, *, quick=False, commit="abc1234"):
    record = {"v": 1, "measure": measure, "round": number, "date": "2026-01-02T03:04:05+00:00", "quick": quick}
    return json.dumps(record | {"machine": MACHINE, "versions": VERSIONS | {"commit": commit}, "results": results})


def loop(ours, theirs, others=0.0):
    cost = {"peak_mb": 1000.0, "others": others}
    return {
        "rechub": {"rows_per_s": ours, "auc": 0.72, **cost},
        "torch-rechub": {"rows_per_s": theirs, "auc": 0.7, **cost},
    }


def render(folder, *lines):
    (folder / "results.jsonl").write_text("\n".join(lines) + "\n")
    page = folder / "page.md"
    command = [sys.executable, BENCHMARKS / "bench.py", "report", "--work", folder, "-o", page]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    return page.read_text(encoding="utf-8")


def row(page, start):
    """The cells of a table's row, which starts so only once in the page."""
    found = [line for line in page.splitlines() if line.startswith(f"| {start}")]
    assert len(found) == 1, page
    return [cell.strip() for cell in found[0].strip("|").split("|")]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    return render(
        tmp_path_factory.mktemp("work"),
        line("train.deepfm", 1, loop(90_000.0, 30_000.0), commit="older00"),  # of another commit: not of this series
        line("train.deepfm", 1, loop(100_000.0, 10_000.0)),
        line("train.deepfm", 2, loop(120_000.0, 20_000.0, others=0.5)),
        line("train.deepfm", 3, loop(140_000.0, 20_000.0)),
        line("small", 1, {"rechub": {"help_s": 0.09, "unknown_key_s": 1.5, "others": 0.0}}),
        line("export", 1, {"rechub": {"items_per_s": 400_000.0, "others": 0.0}}, quick=True),
        line("floor.deepfm", 1, {"rechub": {"gflop": 3.0, "mb": 200.0, "floor_ms": 17.0, "rows": 4096.0}}),
        '{"v": 1, "measure": "train.deepfm", "rou',  # cut off by an interruption
    )


def test_the_report_has_medians_spread_and_ratios_of_rounds(page):
    what, ours, theirs, ratio, wanted = row(page, "**DeepFM, Criteo-like")
    assert what.endswith("training rows/s †")  # other programs ran in one round
    assert ours == "120,000 (100,000 to 140,000)"
    assert theirs == "20,000 (10,000 to 20,000)"
    assert ratio == "7.0× torch-rechub"  # the median of 10, 6 and 7
    assert wanted == "≥ 6.5× torch-rechub: held"


def test_accuracies_are_compared_by_their_difference(page):
    assert row(page, "AUC of the test rows")[3] == "+0.0200 torch-rechub"


def test_bars_that_are_missed_are_said_so(page):
    assert row(page, "**seconds of CPU**")[-1] == "≤ 0.35: held"
    assert row(page, "a spec with an unknown key")[-1] == "≤ 1: missed"


def test_nothing_is_concluded_from_a_trial(page):
    what, value, wanted = row(page, "**export")
    assert what.endswith("(trial)")
    assert (value, wanted) == ("400,000", "≥ 350,000")
    assert "export of a million" not in page.split("## Goals")[1].split("## Training")[0]


def test_all_goals_stand_in_one_table(page):
    assert row(page, "DeepFM, Criteo-like")[1:] == ["7.0× torch-rechub", "≥ 6.5× torch-rechub: held"]
    assert row(page, "seconds of CPU: a spec with an unknown key")[1:] == ["1.50", "≤ 1: missed"]


def test_the_floor_is_set_beside_the_measured_step(page):
    # 4,096 rows at 120,000 a second take 34.1 ms.
    assert row(page, "deepfm | fp32")[5:] == ["17.00", "34.13", "50%"]


def test_the_report_names_what_is_not_measured(page):
    assert "`raw`" in page.splitlines()[-1]
    assert "`train.deepfm`" not in page.splitlines()[-1]


def test_a_report_without_lines_says_that_nothing_is_measured(tmp_path):
    assert "Nothing is measured yet." in render(tmp_path)


def test_a_process_is_told_with_what_it_cost():
    script = "import time; kept = b'x' * 2**26; time.sleep(0.3); print('RESULT', '{\"rows\": 3}')"
    code = (
        f"import sys; sys.path.insert(0, {str(BENCHMARKS)!r}); from harness.process import run\n"
        "own = b'x' * 2**28\n"  # what this process holds is not the other's
        f"ended = run([sys.executable, '-c', {script!r}])\n"
        "print(ended.result()['rows'], ended.peak_mb, ended.cpu_seconds, ended.seconds)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    rows, peak, cpu, seconds = map(float, done.stdout.split())
    assert rows == 3
    assert 64 < peak < 128
    assert 0 < cpu < seconds
    assert seconds > 0.3


NAMES = ("criteo", "frappe", "behaviour", "census", "films")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """All data sets, a thousandth of each, by two processes."""
    script = (
        f"import sys; sys.path.insert(0, {str(BENCHMARKS)!r}); import make_data, pathlib\n"
        f"for name in {NAMES}: make_data.make(name, pathlib.Path(sys.argv[1]), 0.001)"
    )
    folders = [tmp_path_factory.mktemp("data") for _ in range(2)]
    for folder in folders:
        subprocess.run([sys.executable, "-c", script, folder], check=True, timeout=120)
    return folders


@pytest.mark.parametrize("name", NAMES)
def test_data_is_the_same_each_time(made, name):
    for file in ("raw/train.parquet", "raw/test.parquet", "ids/train.parquet", "ids/test.parquet", "ids/meta.json"):
        one, other = ((folder / name / file).read_bytes() for folder in made)
        assert one == other, file


@pytest.mark.parametrize("name", NAMES)
def test_strings_and_integers_are_the_same_ids(made, name):
    sizes = json.loads((made[0] / name / "ids" / "meta.json").read_text())["sparse"]
    raw, ids = (pq.read_table(made[0] / name / kind / "train.parquet") for kind in ("raw", "ids"))
    for column, size in sizes.items():
        pairs = set(zip(raw[column].to_pylist(), ids[column].to_pylist(), strict=True))
        assert len(pairs) == len({string for string, _ in pairs}) == len({number for _, number in pairs})
        assert all(0 < number < size for _, number in pairs)
