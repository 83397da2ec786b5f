"""What a scheduler and its operator rely on: numbers, phases, no secret told, no terminal steered, any environment."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pexpect
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from real_command import SPEC, clicks, environment, rechub

from rechub_cli.run.events import Events
from rechub_cli.run.signals import Stop
from rechub_cli.workflows.request import TrainRequest
from rechub_cli.workflows.train_match import train_match

SECRET = "hunter2xyz"
SERIES = re.compile(r'([a-z_]+)\{((?:[a-z_]+="(?:[^"\\\n]|\\[\\"n])*",?)*)\} (NaN|[+-]Inf|-?[0-9.e+-]+)')
MODEL = """\
from rechub_cli.models.ranking.lr import LR

class Sly(LR):
    def __init__(self, schema, *, token: str = ""):
        super().__init__(schema)
        print("logged in with token=", token, sep="")
"""
MATCH = """\
data: {train: log.parquet}
embed_dim: 4
features:
  past: {type: history, of: item_id, max_len: 5}
  item_id: {type: sparse}
user: user_id
item: item_id
time: time
model: {name: dssm, params: {user_hidden_dims: [4], item_hidden_dims: [4]}}
trainer: {n_epoch: 1, batch_size: 50, device: cpu}
"""


def parsed(path: Path) -> dict[tuple[str, ...], float]:
    """The samples of a text file, by name and labels' values; an AssertionError where it breaks the format."""
    found: dict[tuple[str, ...], float] = {}
    family = None
    text = path.read_text()
    assert text.endswith("\n")
    for line in text.splitlines():
        if line.startswith("# HELP "):
            family = line.split(" ")[2]
        elif line.startswith("# TYPE "):
            assert line == f"# TYPE {family} gauge"
        else:
            series = SERIES.fullmatch(line)
            assert series, line
            assert series[1] == family
            labels = re.findall(r'="((?:[^"\\]|\\.)*)"', series[2])
            assert (family, *labels) not in found
            found[family, *labels] = float(series[3])
    return found


def test_numbers_as_a_prometheus_text_file(here, trained, data, tmp_path):
    (tmp_path / "gone").mkdir()
    assert here("predict", trained[0], "-d", "x", "-o", "y", "--prometheus", tmp_path / "gone", cwd=data).code == 73
    command = ["train-ctr", data / "spec.yaml", "-o", "run", "--epochs", "1", "--prometheus", "train.prom"]
    assert here(*command, cwd=tmp_path).code == 0
    told = parsed(tmp_path / "train.prom")
    info = json.loads((tmp_path / "run" / "run.json").read_text())
    assert told["rechub_metric", "run", "deepfm", "test", "auc"] == info["test"]["auc"]
    assert told["rechub_metric", "run", "deepfm", "valid", "logloss"] == info["best"]["val_logloss"]
    assert told["rechub_rows", "run", "deepfm", "train"] == 2000
    assert told["rechub_last_success_timestamp_seconds", "run", "deepfm", "train"] > 1e9

    file = tmp_path / "e.prom"
    command = ["evaluate", trained[0], "-d", "test.parquet", "--prometheus", file]
    metrics = json.loads(here(*command, "--json", cwd=data).out)["metrics"]
    told = parsed(file)
    assert told["rechub_metric", "run", "deepfm", "evaluate", "auc"] == metrics["auc"]
    assert told["rechub_drift", "run", "deepfm", "evaluate", "item_id", "unseen"] == 0
    assert ("rechub_last_success_timestamp_seconds", "run", "deepfm", "evaluate") in told
    assert here(*command, "--fail-if", "auc > 0", cwd=data).code == 3
    assert ("rechub_last_success_timestamp_seconds", "run", "deepfm", "evaluate") not in parsed(file)

    command = ["predict", trained[0], "-d", "test.parquet", "-o", tmp_path / "s.csv", "--prometheus", file]
    assert here(*command, cwd=data).code == 0
    assert parsed(file)["rechub_rows", "run", "deepfm", "predict"] == 500


def test_a_run_tells_its_phases_its_memory_and_its_machine(trained):
    info = json.loads((trained[0] / "run.json").read_text())
    assert info["phase"] == "testing"
    assert {"starting", "reading", "encoding", "testing"} <= info["phases"].keys()
    assert sum(info["phases"].values()) == pytest.approx(info["seconds"], abs=3)
    assert 1e8 < info["memory"]["peak_rss"] < 1e10
    assert info["heartbeat"] <= info["ended"]
    assert info["environment"].keys() == {"host", "platform", "cpu", "cores", "variables", "cwd", "git"}
    assert [info["data"][part]["rows"] for part in ("train", "valid", "test")] == [2000, 500, 500]


def test_no_secret_is_kept_or_told(here, data, tmp_path):
    (tmp_path / "sly.py").write_text(MODEL)
    spec = SPEC.replace("name: deepfm", "name: ./sly.py:Sly").replace(
        "  params: {hidden_dims: [8], dropout: 0.0}\n", ""
    )
    for part in ("train", "valid", "test"):
        spec = spec.replace(f"{part}.parquet", str(data / f"{part}.parquet"))
    (tmp_path / "spec.yaml").write_text(spec + f"# from https://me:{SECRET}@host\n")
    given = ["--set", f"model.params.token={SECRET}", "--epochs", "1", "--log-file", "log", "-v"]
    ended = here("train-ctr", "spec.yaml", "-o", "run", *given, cwd=tmp_path, MY_TOKEN=SECRET)
    assert ended.code == 0, ended.err

    def holding() -> list[Path]:
        kept = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
        return [path for path in [*kept, tmp_path / "log"] if SECRET.encode() in path.read_bytes()]

    assert not holding()
    assert SECRET not in ended.err
    assert "token=***" in (tmp_path / "run" / "train.log").read_text()
    again = ["train-ctr", "spec.yaml", "-o", "run", "--resume", "must", "--epochs", "2"]
    ended = here(*again, cwd=tmp_path)
    assert (ended.code, "model.params.token" in ended.err) == (78, True)  # it is not known any more
    assert here(*again, "--set", f"model.params.token={SECRET}", cwd=tmp_path).code == 0
    assert not holding()
    lines = (tmp_path / "run" / "metrics.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["epoch", "1", "2"]  # it went on
    for wrong in (
        ["train-ctr", data / "spec.yaml", "--set", f"model.params.password={SECRET}"],
        ["evaluate", tmp_path / "run", "--plugin", "-d", f"s3://me:{SECRET}@bucket/x.parquet"],
        ["predict", "run", f"--token={SECRET}"],
    ):
        for format in ("text", "json"):
            ended = here(*wrong, "--log-format", format, "-vv", cwd=tmp_path)
            assert ended.code in (2, 66, 78)
            assert SECRET not in ended.err


def test_nothing_in_the_data_steers_the_terminal(here, tmp_path):
    nasty = "pri\x1b[31mce\x1b]0;owned\x07"
    table = clicks(400, 0).rename_columns(["user_id", "item_id", nasty, "hist", "cl\x9bick"])
    buy = pa.array(table["item_id"].to_numpy() % 2)
    ids = pa.array([f"u\x1b[2J{value}" for value in table["user_id"].to_pylist()])
    table = table.set_column(0, "user_id", ids).append_column("<b>uy\x1b[0m", buy)
    pq.write_table(table, tmp_path / "train.parquet")
    pq.write_table(table, tmp_path / "valid.parquet")
    spec = SPEC.replace("  test: test.parquet\n", "").replace("  price:", '  "pri\\e[31mce\\e]0;owned\\a":')
    spec = spec.replace(
        "  click: {type: classification}",
        '  "cl\\x9bick": {type: classification}\n  "<b>uy\\e[0m": {type: classification}',
    )
    spec = spec.replace("deepfm", "shared_bottom").replace("  params: {hidden_dims: [8], dropout: 0.0}\n", "")
    (tmp_path / "spec.yaml").write_text(spec.replace("[auc, gauc, logloss]", "[auc, logloss]"))  # fmt: skip
    write = ["-o", "scores.csv", "--overwrite", "--keep", "user_id"]
    for command, code in (
        (["train-mtl", "spec.yaml", "-o", "run", "--epochs", "1", "-v"], 0),
        (["evaluate", "run", "-d", "valid.parquet", "-v"], 0),
        (["evaluate", "run", "-d", "valid.parquet", "--json"], 0),
        (["predict", "run", "-d", "valid.parquet", *write, "-v"], 0),
        (["predict", "run", "-d", "\x1b[31mnix", *write], 66),
        (["predict", "run", "--keep", "\x1b[31mnix", "-d", "valid.parquet", "-o", "y.csv"], 2),
        (["validate", "spec.yaml"], 0),
        (["init", "train.parquet", "--label", "<b>uy\x1b[0m"], 0),
        (["\x1b[31mnix"], 2),
    ):
        for more in ([], ["--progress", "on", "--color", "never"]) if command[0] == "train-mtl" else ([],):
            here("version", cwd=tmp_path)
            ended = here(*command, *more, *(["--overwrite"] if more else []), cwd=tmp_path)
            assert ended.code == code, ended.err
            shown = (ended.out + ended.err).replace("\x1b[?25l", "").replace("\x1b[?25h", "")
            shown = re.sub(r"\x1b\[(2K|1A|\d*m)|\r", "", shown) if more else shown  # the bar's own
            assert not set(shown) & {"\x1b", "\x9b", "\x07"}, (command, shown)
    spec = yaml.safe_load(here("init", "train.parquet", "--label", "<b>uy\x1b[0m", cwd=tmp_path).out)
    assert nasty in spec["features"]
    lines = (tmp_path / "scores.csv").read_text().splitlines()
    assert lines[1].startswith(table["user_id"][0].as_py())  # data stays exact
    for name in ("train.log", "log_table.txt", "events.jsonl"):
        assert not set((tmp_path / "run" / name).read_text()) & {"\x1b", "\x9b", "\x07"}
    assert "<B>UY" not in (tmp_path / "run" / "log_table.html").read_text().upper()


@pytest.fixture(scope="module")
def match(tmp_path_factory):
    folder = tmp_path_factory.mktemp("match")
    rng = np.random.default_rng(0)
    log = {"user_id": rng.integers(0, 9, 200), "item_id": rng.permutation(200) % 40, "time": np.arange(200)}
    pq.write_table(pa.table(log), folder / "log.parquet")
    pq.write_table(pa.table({"user_id": [3, 1]}), folder / "users.parquet")
    (folder / "spec.yaml").write_text(MATCH)
    train_match(TrainRequest(spec=str(folder / "spec.yaml"), output=str(folder / "run")), Events(), Stop())
    return folder


@pytest.mark.parametrize(
    ("prefix", "arguments", "out"),
    [
        ("env -i PATH=/usr/bin", "predict {run} -d {data}/test.csv -o s.csv", "s.csv\n"),
        ("env -i LC_ALL=C PYTHONUTF8=0 HOME=/nowhere", "evaluate {run} -d {data}/test.csv", "auc      0."),
        ("env -u HOME LC_ALL=C", "embed {match}/run --mode item -o v.npy <&-", "v.npy\n"),
        ("env -i LC_ALL=POSIX", "init {data}/train.parquet <&-", "# "),
        ("env -i NO_COLOR=1 COLUMNS=20", "validate {data}/spec.yaml", "ok"),
        ("env -u HOME COLUMNS=20", "models ls <&- 2>&-", ""),
        ("env -i LC_ALL=C PYTHONUTF8=0 NO_COLOR=1 COLUMNS=20", "train-ctr {data}/spec.yaml -o run {few} <&-", "run\n"),
        ("env -i LC_ALL=C PYTHONUTF8=0 COLUMNS=20 RECHUB_RUNS_DIR={run}/..", "runs ls <&-", "run"),
        ("env -i LC_ALL=POSIX", "publish {run} --as prod <&- 2>&-", "runs/prod\n"),
        ("env -i HOME=/nowhere LC_ALL=C NO_COLOR=1 COLUMNS=20", "doctor <&-", "kernels"),
    ],
)
def test_any_environment_will_do(prefix, arguments, out, trained, data, match, tmp_path):
    import subprocess

    few = "--epochs 1 --limit-rows 100"
    command = f"{prefix} OMP_NUM_THREADS=1 {sys.executable} -m rechub_cli {arguments}"
    script = "exec " + command.format(run=trained[0], data=data, match=match, few=few)
    ended = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, capture_output=True, env=environment(), timeout=100, check=False
    )
    assert ended.returncode == 0, ended.stderr.decode()
    assert ended.stdout.decode().startswith(out) or out in ended.stdout.decode()
    assert b"\x1b" not in ended.stdout + ended.stderr
    assert b"Traceback" not in ended.stderr
    left = {"s.csv", "v.npy", "v.npy.manifest.json", "v.ids.parquet", "run", "latest", ".cache", "runs"}
    assert {path.name for path in tmp_path.iterdir()} <= left


@pytest.mark.parametrize("no_color", ["", "1"])
def test_a_terminal_of_twenty_columns_gets_everything(no_color, match, data, tmp_path):
    command = (
        f"recommend {match}/run --users {match}/users.parquet -k 2 -o r.csv -v"
        if no_color
        else f"validate {data}/spec.yaml"
    )
    child = pexpect.spawn(
        sys.executable,
        ["-m", "rechub_cli", *command.split()],
        cwd=str(tmp_path),
        env=environment(TERM="xterm-256color", LANG="C.UTF-8", NO_COLOR=no_color),
        dimensions=(5, 20),
        timeout=60,
        encoding="utf-8",
    )  # fmt: skip
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
    facts = ["missing     0.0% (not known)", "r.csv\r\n"] if no_color else ["train  2,000 rows", "test   500 rows"]
    assert all(fact in child.before for fact in facts), child.before
    assert child.before.count("\x1b[?25l") == child.before.count("\x1b[?25h")
    if no_color:
        assert not re.search(r"\x1b\[\d*m", child.before)
        assert (tmp_path / "r.csv").read_text().count("\n") == 5


def test_a_log_of_json_is_json_in_a_locale_without_the_letters(data, tmp_path):
    ended = rechub("validate", "späc\x1b.yaml", "--log-format", "json", cwd=data, LC_ALL="C", PYTHONUTF8="0")
    assert ended.code == 66
    assert json.loads(ended.err)["msg"].startswith("cannot read the spec sp")
    assert ended.err.isascii()
