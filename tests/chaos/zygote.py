"""A process that has imported everything and forks one command after another: each starts in milliseconds, not seconds.

It reads one JSON line for each command, answers with the child's process id, and with how it ended once it has.
"""

import contextlib
import json
import os
import pkgutil
import resource
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import rechub_cli

MODULES = (
    "pandas pyarrow.parquet pyarrow.csv pyarrow.json pyarrow.dataset sklearn.metrics scipy.sparse safetensors.torch"
    " rich.table torch torch._dynamo torch.distributed.tensor torch.distributed.fsdp torch.onnx"
)


class Child:
    """A command that runs."""

    def __init__(self, zygote: "Zygote", pid: int) -> None:
        self.zygote, self.pid = zygote, pid

    def kill(self, number: int) -> None:
        """Send a signal; it may have ended already."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def wait(self) -> int:
        """Its exit code; minus the signal that killed it."""
        return self.zygote.answer()["code"]


class Zygote:
    """The forking process, seen from outside. One command at a time."""

    def __init__(self, modules: str = MODULES) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("RECHUB_", "COV"))}
        self.process = subprocess.Popen(
            [sys.executable, __file__, modules],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**kept, "OMP_NUM_THREADS": "1"},
        )
        assert self.answer() == {"ready": True}

    def start(
        self,
        *arguments: str | Path,
        cwd: Path,
        out: Path,
        err: Path,
        largest: int | None = None,
        input: Path | None = None,
    ) -> Child:
        """Start ``rechub`` with these arguments; no file it writes can be larger than ``largest`` bytes."""
        assert self.process.stdin is not None
        order = {"arguments": [*map(str, arguments)], "cwd": str(cwd), "out": str(out), "err": str(err)}
        order |= {"largest": largest, "input": str(input or os.devnull)}
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return Child(self, self.answer()["pid"])

    def answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()

    def __enter__(self) -> "Zygote":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def serve(modules: Sequence[str]) -> None:
    for module in modules:
        __import__(module)
    for found in pkgutil.walk_packages(rechub_cli.__path__, "rechub_cli."):
        if not {"__main__", "testing", "_compiled"} & {*found.name.split(".")}:  # compiled loops are no Python module
            __import__(found.name)
    tell({"ready": True})
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            become(**order)
        tell({"pid": pid})
        tell({"code": os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])})


def tell(what: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def become(arguments: list[str], cwd: str, out: str, err: str, largest: int | None, input: str) -> None:
    """In the child: the command, as if started from a shell."""
    from rechub_cli.cli import app

    os.chdir(cwd)
    if largest is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, resource.RLIM_INFINITY))
    for number, path, flags in (
        (0, input, os.O_RDONLY),
        (1, out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
        (2, err, os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
    ):
        os.dup2(os.open(path, flags, 0o644), number)
    sys.stdin, sys.stdout, sys.stderr = (open(number, "w" if number else "r", closefd=False) for number in range(3))  # noqa: SIM115
    sys.argv = ["rechub", *arguments]
    code = 70
    try:
        code = app.run()
    finally:
        os._exit(code)


if __name__ == "__main__":
    serve(sys.argv[1].split())
