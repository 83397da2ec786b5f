"""Data, and one run that was trained on it with the real command."""

import json
import shutil
import sys

import pytest
from real_command import Ended, rechub, write_data

from rechub_cli.cli import app


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """A folder with spec.yaml, train, valid and test; not to be changed."""
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def trained(data, tmp_path_factory):
    """(run directory, what training printed)"""
    folder = tmp_path_factory.mktemp("trained")
    ended = rechub("train-ctr", data / "spec.yaml", "-o", "run", cwd=folder)
    assert ended.code == 0, ended.err
    return folder / "run", ended


@pytest.fixture
def here(capfd, monkeypatch):
    """Run the command in this process: as the real one, without the seconds that importing torch takes."""

    def run(*arguments, cwd, **env):
        monkeypatch.chdir(cwd)
        monkeypatch.setattr(sys, "argv", ["rechub", *map(str, arguments)])
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        capfd.readouterr()
        code = app.run()
        return Ended(code, *capfd.readouterr())

    return run


@pytest.fixture
def shelf(trained, tmp_path):
    """A folder with runs/a, runs/b and runs/c: the same trained run three times, a the oldest."""
    for place, name in enumerate("abc"):
        run = tmp_path / "runs" / name
        shutil.copytree(trained[0], run)
        info = json.loads((run / "run.json").read_text())
        info |= {"run": name, "started": f"2026-11-2{place}T10:00:00Z"}
        (run / "run.json").write_text(json.dumps(info))
    return tmp_path
