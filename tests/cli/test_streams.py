"""What goes to standard output and standard error, how a command ends, and what it costs to start one."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from real_command import environment, rechub

from rechub_cli.run import Run

COMMAND = f"{sys.executable} -m rechub_cli"


def shell(script: str, cwd) -> subprocess.CompletedProcess:
    return subprocess.run(
        ["bash", "-c", script], cwd=cwd, capture_output=True, text=True, env=environment(), check=False
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["train-ctr", "--help"],
        ["version"],
        ["models", "ls"],
        ["models", "show", "deepfm"],
        ["runs", "ls", "--json"],
        ["cache", "ls", "--json"],
    ],
)
def test_help_and_descriptions_import_nothing_heavy(arguments, tmp_path):
    script = (
        "import sys; from rechub_cli.cli.app import run; code = run()\n"
        "heavy = {'torch', 'pandas', 'pyarrow', 'sklearn', 'numpy', 'rich'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else code)"
    )
    ended = rechub(*arguments, cwd=tmp_path, script=script)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out
    assert "\x1b" not in ended.out


def test_help_names_every_command_and_exit_code(tmp_path):
    text = rechub("--help", cwd=tmp_path).out
    for word in (
        "train-ctr",
        "evaluate",
        "predict",
        "init",
        "validate",
        "models",
        "publish",
        "runs",
        "cache",
        "doctor",
        "version",
        "65",
        "78",
        "143",
    ):
        assert word in text


def test_a_wrong_flag_is_usage_and_says_where_help_is(here, tmp_path):
    ended = here("predict", "--nope", cwd=tmp_path)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("error: ")
    assert "rechub predict --help" in ended.err


def test_json_log_format_makes_errors_events_too(here, tmp_path):
    for arguments in (["evaluate", "nix", "-d", "x", "--log-format", "json"], ["nix", "--log-format", "json"]):
        ended = here(*arguments, cwd=tmp_path)
        event = json.loads(ended.err)
        assert (event["event"], event["data"]["exit"]) == ("error", ended.code)


def test_a_log_file_gets_the_same_lines(here, trained, data, tmp_path):
    ended = here("evaluate", trained[0], "-d", data / "test.parquet", "--log-file", tmp_path / "log", "-q", cwd=data)
    assert (ended.code, ended.err) == (0, "")
    assert "eval.result" in (tmp_path / "log").read_text()


def test_twice_quiet_says_nothing_at_all(here, trained, data):
    ended = here("evaluate", trained[0], "-d", "test.parquet", "-qq", cwd=data)
    assert (ended.code, ended.out, ended.err) == (0, "", "")


def test_an_unknown_variable_of_ours_is_remarked_upon(tmp_path):
    ended = rechub("version", cwd=tmp_path, RECHUB_RUN_DIR="x")
    assert ended.code == 0
    assert "did you mean RECHUB_RUNS_DIR" in ended.err


def test_a_full_disk_behind_standard_output_is_73(tmp_path):
    for command in ("--help", "version"):
        ended = shell(f"{COMMAND} {command} > /dev/full", tmp_path)
        assert ended.returncode == 73
        assert ended.stderr == "error: cannot write standard output: No space left on device\n"


def test_a_closed_pipe_is_141(tmp_path):
    ended = shell(f"{COMMAND} models ls | true; exit ${{PIPESTATUS[0]}}", tmp_path)
    assert ended.returncode in (0, 141)  # 0 where the list was in the pipe before `true` had ended
    assert ended.stderr == ""
    ended = shell(f"{{ sleep 0.5; {COMMAND} --help; echo $? >&2; }} | true", tmp_path)
    assert ended.stderr == "141\n"


def test_closed_streams_and_an_ascii_locale_do_no_harm(tmp_path):
    assert shell(f"{COMMAND} version <&- 2>&-", tmp_path).returncode == 0
    ended = shell(f"{COMMAND} version >&-", tmp_path)
    assert (ended.returncode, ended.stderr) == (73, "error: cannot write standard output: it is closed\n")
    (tmp_path / "späc.yaml").write_text("fäatures: {}")
    ended = shell(f"LC_ALL=C PYTHONUTF8=0 {COMMAND} train-ctr späc.yaml", tmp_path)
    assert ended.returncode == 78
    assert "Traceback" not in ended.stderr


def test_nothing_piped_in_never_waits(here, trained, data, monkeypatch):
    class Terminal:
        closed = False

        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stdin", Terminal())
    ended = here("predict", trained[0], "-d", "-", "-o", "-", cwd=data)
    assert ended.code == 2
    assert "nothing is piped in" in ended.err


NOISY = """\
import os
from torch import nn
from rechub_cli.batch import Output
from rechub_cli.nn.embedding import FeatureEmbedding

class Noisy(nn.Module):
    def __init__(self, schema, *, loud: bool = True):
        super().__init__()
        self.schema = schema
        self.embedding = FeatureEmbedding(schema, dim=1)
        self.out = nn.Linear(self.embedding.width + self.embedding.n_dense, 1)
        print("printed by the model")
        os.write(1, b"written by the model\\n")

    def forward(self, batch):
        return Output(self.out(self.embedding(batch).all))
"""


def test_what_a_local_model_prints_stays_out_of_the_result_and_its_code_needs_leave(data, tmp_path, here):
    for name in ("train", "valid", "test"):
        os.symlink(data / f"{name}.parquet", tmp_path / f"{name}.parquet")
    (tmp_path / "noisy.py").write_text(NOISY)
    (tmp_path / "spec.yaml").write_text(
        (data / "spec.yaml").read_text().replace("name: deepfm", "name: ./noisy.py:Noisy")
    )
    ended = here("train-ctr", "spec.yaml", "-o", "run", "--epochs", "1", "--set", "model.params=null", cwd=tmp_path)
    assert (ended.code, ended.out) == (0, "run\n"), ended.err
    assert "printed by the model" in (tmp_path / "run" / "train.log").read_text()
    (tmp_path / "noisy.py").unlink()
    refused = here("evaluate", "run", "-d", "test.parquet", cwd=tmp_path)
    assert refused.code == 69
    assert "--plugin" in refused.err
    assert here("evaluate", "run", "-d", "test.parquet", "--plugin", cwd=tmp_path).code == 0
    assert here("evaluate", "run", "-d", "test.parquet", cwd=tmp_path, RECHUB_PLUGINS="noisy.py").code == 0
    (tmp_path / "run" / "plugin" / "noisy.py").write_text(NOISY + "# changed\n")
    changed = here("evaluate", "run", "-d", "test.parquet", "--plugin", cwd=tmp_path)
    assert changed.code == 65


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_and_ends_with_its_code(number, code, data, tmp_path):
    arguments = ["train-ctr", data / "spec.yaml", "-o", "run", "--set", "trainer.n_epoch=100000",
                 "--set", "trainer.earlystop_patience=100000"]  # fmt: skip
    with subprocess.Popen(
        [*COMMAND.split(), *map(str, arguments)],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    ) as process:
        deadline = time.monotonic() + 60
        while not (tmp_path / "run" / "last").exists():
            assert time.monotonic() < deadline
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.05)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (code, "")
    assert f"{signal.Signals(number).name} received" in err
    info = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (info["status"], info["exit"]) == ("interrupted", code)
    last = (tmp_path / "run" / "last").read_text().strip()
    assert (tmp_path / "run" / "checkpoints" / last / "manifest.json").is_file()
    assert f"checkpoint.saved last={last}" in err
    assert not (tmp_path / "latest").exists()


def test_a_fault_of_a_foreign_model_is_told_as_its_own(data, tmp_path, here):
    (tmp_path / "noisy.py").write_text(NOISY.replace("return Output", "raise KeyError('colour'); return Output"))
    ended = here(
        "train-ctr", data / "spec.yaml", "-o", "run", "--set", f"model.name={tmp_path}/noisy.py:Noisy",
        "--set", "model.params=null", cwd=tmp_path,
    )  # fmt: skip
    assert ended.code == 1
    assert "Noisy failed in training: KeyError: 'colour'" in ended.err


def test_a_run_in_use_is_75(data, tmp_path, here):
    holder = Run.create(str(tmp_path / "run"), "lr")
    ended = here("train-ctr", data / "spec.yaml", "-o", "run", "--overwrite", cwd=tmp_path)
    holder.close()
    assert ended.code == 75
    assert f"in use by pid {os.getpid()}" in ended.err


def test_runs_go_where_the_environment_says_and_a_flag_wins_over_the_device_variable(data, tmp_path, here):
    spec = (data / "spec.yaml").read_text().replace("  device: cpu\n", "")
    for part in ("train", "valid", "test"):
        spec = spec.replace(f"{part}.parquet", str(data / f"{part}.parquet"))
    (tmp_path / "spec.yaml").write_text(spec)
    flags = ["--epochs", "1", "--limit-rows", "200"]
    ended = here("train-ctr", "spec.yaml", *flags, cwd=tmp_path, RECHUB_RUNS_DIR="elsewhere", RECHUB_DEVICE="cuda:9")
    assert ended.code == 69, ended.err
    ended = here("train-ctr", "spec.yaml", *flags, "--device", "cpu", cwd=tmp_path)
    assert ended.code == 0, ended.err
    assert ended.out.startswith("elsewhere/")
    assert "train=200" in ended.err


def test_a_diverging_run_fails_with_1_and_keeps_its_log(data, tmp_path, here):
    ended = here(
        "train-ctr", data / "spec.yaml", "-o", "run", "--set", "trainer.optimizer=sgd", "--lr", "1e38", cwd=tmp_path
    )
    assert ended.code == 1, ended.err
    assert "not a number" in ended.err
    assert "Traceback" not in ended.err
    info = json.loads((tmp_path / "run" / "run.json").read_text())
    assert info["status"] == "failed"
    assert "Traceback" in (tmp_path / "run" / "train.log").read_text()


def test_a_bug_is_70_and_names_the_log(data, tmp_path, here, monkeypatch):
    def broken(*_):
        raise ZeroDivisionError("oops")

    monkeypatch.setattr("rechub_cli.workflows.fitting.ctr_trainer", broken)
    ended = here("train-ctr", data / "spec.yaml", "-o", "run", cwd=tmp_path)
    assert ended.code == 70
    assert "run/train.log" in ended.err
    assert "Traceback" not in ended.err
    assert "ZeroDivisionError: oops" in (tmp_path / "run" / "train.log").read_text()
