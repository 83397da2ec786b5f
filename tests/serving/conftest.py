"""Runs of small retrieval models, trained once in this process; not to be changed."""

import pytest
from planted import write_data

from rechub_cli.run.events import Events
from rechub_cli.run.signals import Stop
from rechub_cli.workflows.request import TrainRequest
from rechub_cli.workflows.train_match import train_match


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """A folder with log, items and users, and a spec for each model."""
    return write_data(tmp_path_factory.mktemp("planted"))


@pytest.fixture(scope="session")
def run_of(data, tmp_path_factory):
    """``run_of("dssm")`` -> the run directory."""
    folder, made = tmp_path_factory.mktemp("runs"), {}

    def run(name):
        if name not in made:
            request = TrainRequest(spec=str(data / f"{name}.yaml"), output=str(folder / name))
            made[name] = train_match(request, Events(), Stop()).run
        return made[name]

    return run
