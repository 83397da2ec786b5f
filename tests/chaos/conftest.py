"""Commands forked from a process that has imported everything, on small data in memory."""

import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import worlds
from chaos import shared_memory
from zygote import Child, Zygote


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str


@dataclass(frozen=True)
class World:
    """A folder with data and specs, and commands that run in it."""

    zygote: Zygote
    folder: Path

    def start(self, *arguments: str | Path, largest: int | None = None, input: Path | None = None) -> Child:
        out, err = self.folder / "out", self.folder / "err"
        return self.zygote.start(*arguments, cwd=self.folder, out=out, err=err, largest=largest, input=input)

    def run(self, *arguments: str | Path, largest: int | None = None) -> Ended:
        return self.ended(self.start(*arguments, largest=largest).wait())

    def ended(self, code: int) -> Ended:
        return Ended(code, (self.folder / "out").read_text(), (self.folder / "err").read_text())

    def stopped(self, number: int, wanted: Path, *arguments: str | Path) -> Ended:
        """A command that gets a signal as soon as ``wanted`` is there."""
        child = self.start(*arguments)
        deadline = time.monotonic() + 60
        while not wanted.exists() and time.monotonic() < deadline:
            time.sleep(0.005)
        child.kill(number)
        return self.ended(child.wait())


@pytest.fixture(scope="session")
def zygote():
    with Zygote() as running:
        yield running


@pytest.fixture(scope="session")
def world(zygote):
    folder = Path(tempfile.mkdtemp(prefix="rechub-test-", dir=shared_memory()))
    worlds.make(folder)
    yield World(zygote, folder)
    shutil.rmtree(folder)


@pytest.fixture
def place(world):
    """A folder of a test's own for its runs."""
    folder = Path(tempfile.mkdtemp(dir=world.folder))
    yield folder
    shutil.rmtree(folder)
