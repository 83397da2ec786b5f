"""Kill commands (-9) at random instants, and look at what they leave: ``make chaos``.

A training is killed again and again and resumed, until it ends; then its weights must be those of one that was never
killed, byte for byte. An output must be the old one or the new one. Nothing may be torn, whenever the kill came.
"""

import argparse
import csv
import hashlib
import itertools
import json
import math
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import worlds
from zygote import Zygote

from rechub_cli.errors import RechubError
from rechub_cli.run.checkpoints import FILES, Checkpoints
from rechub_cli.run.reading import read_pointer, verified

TIMES = ("rows_per_s", "seconds")  # columns that differ from run to run
TELL_SECONDS = 60


class Torn(Exception):
    """Something is not as it must be after a kill."""


def must(holds: object, what: str) -> None:
    if not holds:
        raise Torn(what)


class Chaos:
    """Kills commands in one folder of data and finished runs."""

    def __init__(self, zygote: Zygote, folder: Path, seed: int, minutes: float = math.inf) -> None:
        self.zygote, self.folder, self.random = zygote, folder, random.Random(seed)
        self.deadline = time.monotonic() + 60 * minutes  # of kills: what was begun is brought to its end
        self.kills: Counter[str] = Counter()
        self.ends: Counter[str] = Counter()  # commands that were resumed to their end and compared
        worlds.make(folder)

    def enough(self, command: str, kills: int) -> bool:
        return self.kills[command] >= kills or time.monotonic() > self.deadline

    def run(self, *arguments: str) -> tuple[int, float]:
        """A command to its end: its exit code and its seconds."""
        began = time.monotonic()
        code = self.start(*arguments).wait()
        return code, time.monotonic() - began

    def start(self, *arguments: str):
        return self.zygote.start(*arguments, cwd=self.folder, out=self.folder / "out", err=self.folder / "err")

    def kill(self, name: str, longest: float, *arguments: str) -> int:
        """A command that is killed at a random instant of its life; it may be quicker."""
        child = self.start(*arguments)
        time.sleep(self.random.uniform(0, longest))
        child.kill(signal.SIGKILL)
        code = child.wait()
        must(code in (0, -signal.SIGKILL), f"exit {code}: {self.said()}")
        self.kills[name] += code != 0
        return code

    def said(self) -> str:
        return (self.folder / "err").read_text()[-2000:]

    def training(self, command: str, kills: int) -> Iterator[None]:
        """Kill and resume trainings of all specs in turn."""
        references = {}
        for name in itertools.cycle(worlds.WORLDS[command]):
            if name not in references:
                references[name] = self.reference(command, name)
            self.chain(command, name, references[name])
            if self.enough(command, kills):
                return
            yield

    def reference(self, command: str, name: str, for_use: str = "") -> tuple[dict[str, str], float]:
        """What an uninterrupted training of a spec leaves, and how long it takes."""
        run = self.folder / f"{command}-{name}{for_use}" / "run"
        code, seconds = self.run(command, f"{command}-{name}.yaml", "-o", str(run), "-q")
        must(code == 0, f"{command} {name}: exit {code}: {self.said()}")
        return results(run), seconds

    def chain(self, command: str, name: str, reference: tuple[dict[str, str], float]) -> None:
        """One training, killed up to four times and resumed each time, then to its end."""
        wanted, seconds = reference
        base = self.folder / "chain"
        shutil.rmtree(base, ignore_errors=True)
        run = base / "run"
        call = (command, f"{command}-{name}.yaml", "-o", str(run), "--resume", "auto", "-q")
        for _ in range(self.random.randint(1, 4)):
            self.kill(command, seconds, *call)
            check_run(run)
        code, _ = self.run(*call)
        must(code == 0, f"exit {code} of the resumed run: {self.said()}")
        check_run(run)
        found = results(run)
        different = [file for file in wanted if found.get(file) != wanted[file]]
        must(found == wanted, f"{name}: resumed to another end: {different}")
        left = [path for path in base.rglob(".*") if path.name.endswith((".tmp", ".old", ".replaced"))]
        must(not left, f"left behind: {left}")
        self.ends[command] += 1

    def output(self, command: str, kills: int) -> Iterator[None]:
        """Kill a command that replaces an output, which is the old one or the new one ever after."""
        trainer, name = ("train-match", "in_batch") if command in ("embed", "recommend") else ("train-ctr", "steps")
        self.reference(trainer, name, for_use=command)
        run = self.folder / f"{trainer}-{name}{command}" / "run"
        before = tree(run)
        call, old_call, target = self.calls(command, run)
        contents = []
        for one in (old_call, call):
            code, seconds = self.run(*one)
            must(code == 0, f"exit {code}: {self.said()}")
            contents.append(self.content(target))
        must(contents[0] != contents[1], "the old output and the new one are the same")
        while not self.enough(command, kills):
            if target is not None and self.content(target) != contents[0]:
                self.run(*old_call)
            code = self.kill(command, seconds, *call)
            found = self.content(target)
            if target is None:
                must(found in (b"", contents[1]), "standard output holds a part of the result")
            else:
                must(found in contents, f"{target} is neither the old output nor the new one")
            must(code != 0 or found == contents[1], "exit 0 without the new output")
            must(tree(run) == before, f"{run} was changed")
            yield
        code, _ = self.run(*call)
        must(code == 0 and self.content(target) == contents[1], f"exit {code}: {self.said()}")
        left = [path.name for path in self.folder.glob(f".{target.name}.*.tmp")] if target else []
        must(not left, f"left behind: {left}")
        self.ends[command] += 1

    def calls(self, command: str, run: Path) -> tuple[tuple[str, ...], tuple[str, ...], Path | None]:
        """The call to kill, one that makes another output, and where that is (None: standard output)."""
        if command == "evaluate":
            call = ("evaluate", str(run), "--data", "test.parquet", "--json", "-q")
            return call, (*call, "--limit-rows", "100"), None
        target = self.folder / f"{command}.parquet"
        named = {
            "predict": ("--data", "log.parquet"),
            "embed": ("--mode", "item"),
            "recommend": ("--users", "log.parquet"),
        }
        call = (command, str(run), *named[command], "-o", str(target), "--overwrite", "-q")
        other = ("--data", "test.parquet") if command == "embed" else ("--limit-rows", "50")
        return call, (*call, *other), target

    def content(self, target: Path | None) -> bytes:
        if target is None:
            return (self.folder / "out").read_bytes()
        pq.read_table(target)
        return target.read_bytes()


def check_run(run: Path) -> None:
    """Whatever is in a run directory is whole."""
    if not (run / "run.json").exists():
        must(
            not run.exists() or {path.name for path in run.iterdir() if not path.name.endswith(".tmp")} <= {".lock"},
            "a run without run.json",
        )
        return
    json.loads((run / "run.json").read_text())
    for file in run.rglob("*"):
        if file.name.startswith(".") or any(part.startswith(".") for part in file.relative_to(run).parts):
            continue
        if file.suffix == ".json":
            json.loads(file.read_text())
        elif file.suffix == ".parquet":
            pq.read_table(file)
        elif file.name == "events.jsonl":
            text = file.read_text()
            must(text.endswith("\n") or not text, "events.jsonl ends within a line")
            [json.loads(line) for line in text.splitlines()]
        elif file.name == "metrics.csv":
            epochs = [row["epoch"] for row in csv.DictReader(file.read_text().splitlines())]
            must(epochs == sorted(set(epochs), key=int), f"epochs {epochs} in metrics.csv")
        elif file.name == "spec.yaml":
            must(file.stat().st_size, "spec.yaml is empty")
    try:
        for name in Checkpoints(run)._names():
            if not name.startswith("."):
                verified(run / "checkpoints" / name, FILES)
        for pointer in ("best", "last"):
            if (run / pointer).exists():
                name = read_pointer(run, pointer)
                must(name, f"{pointer} is torn")
                verified(run / "checkpoints" / str(name), ["model.safetensors"])
    except RechubError as error:
        raise Torn(str(error)) from error


def results(run: Path) -> dict[str, str]:
    """What must be the same however often a training was killed, by name."""
    found = {}
    for pointer in ("best", "last"):
        weights = run / "checkpoints" / str(read_pointer(run, pointer)) / "model.safetensors"
        found[pointer] = hashlib.sha256(weights.read_bytes()).hexdigest()
    for row in csv.DictReader((run / "metrics.csv").read_text().splitlines()):
        found[f"epoch {row['epoch']}"] = str({name: value for name, value in row.items() if name not in TIMES})
    for file in run.rglob("*.parquet"):
        found[str(file.relative_to(run))] = hashlib.sha256(file.read_bytes()).hexdigest()
    info = json.loads((run / "run.json").read_text())
    found["status"] = info["status"]
    found["test"] = str([info["test"], info.get("baselines"), info["best"].get("step")])
    return found


def tree(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of change of every file."""
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


COMMANDS = ("train-ctr", "train-match", "train-mtl", "predict", "embed", "recommend", "evaluate")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200, help="of each command")
    parser.add_argument("--commands", default=",".join(COMMANDS))
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--minutes", type=float, default=math.inf, help="kill no more then")
    parser.add_argument("--folder", help="where to work; kept afterwards")
    options = parser.parse_args()
    folder = Path(options.folder or tempfile.mkdtemp(prefix="rechub-chaos-", dir=shared_memory()))
    print(f"seed {options.seed}, in {folder}", flush=True)
    failures = 0
    with Zygote() as zygote:
        chaos = Chaos(zygote, folder / "w", options.seed, options.minutes)
        chaos.reference("train-ctr", "steps")  # files and modules that the first run finds cold
        shutil.rmtree(folder / "w" / "train-ctr-steps")
        left = {
            command: (chaos.training if command.startswith("train") else chaos.output)(command, options.kills)
            for command in options.commands.split(",")
        }
        told = time.monotonic()
        while left:
            for command, steps in list(left.items()):
                try:
                    if next(steps, "done") == "done":
                        del left[command]
                except Torn as error:
                    failures += 1
                    del left[command]
                    print(f"FAILED {command} after {chaos.kills[command]} kills: {error}", flush=True)
                    shutil.copytree(folder, folder.with_name(f"{folder.name}-{command}"), dirs_exist_ok=True)
            if not left or time.monotonic() - told > TELL_SECONDS:
                told = time.monotonic()
                counts = [f"{name} {kills} ({chaos.ends[name]})" for name, kills in chaos.kills.items()]
                print("kills (ends compared): " + ", ".join(counts), flush=True)
    if not options.folder:
        shutil.rmtree(folder)
    return 1 if failures else 0


def shared_memory() -> str | None:
    """Kills need no disk: where there is memory to write to, that is quicker."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


if __name__ == "__main__":
    sys.exit(main())
