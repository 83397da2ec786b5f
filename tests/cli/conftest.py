"""Data, and one run that was trained on it with the real command."""

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
