"""A process that has imported everything, and forks a child for each command that it is asked to run.

For tests: their own process has threads by then, and cannot fork safely.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import sandbox


class Nursery:
    """The other end: ``run`` as ``sandbox.run``."""

    def __init__(self) -> None:
        command = [sys.executable, str(Path(__file__))]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, arguments: Sequence[str | Path], cwd: Path, streams: Path) -> sandbox.Ended:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps([list(map(str, arguments)), str(cwd), str(streams)]) + "\n")
        self.process.stdin.flush()
        return sandbox.Ended(**json.loads(self.process.stdout.readline()))

    def close(self) -> None:
        self.process.communicate()


def serve() -> None:
    sandbox.preload()
    for line in sys.stdin:
        arguments, cwd, streams = json.loads(line)
        ended = sandbox.run(arguments, Path(cwd), Path(streams))
        sys.stdout.write(json.dumps(dataclasses.asdict(ended)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve()
