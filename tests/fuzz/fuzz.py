"""Throw broken specs, files and runs at the commands and see that each ends well: ``python tests/fuzz/fuzz.py specs --cases 1000``.

A case is a function of the seed and its number, so that one that fails can be had again: ``--seed S --only N``. What
it found lies in the folder that it names. The exit code is 1 where anything did.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import broken_files
import broken_runs
import broken_specs
import pyarrow.parquet as pq
import sandbox
import yaml

SAMPLES = Path(__file__).parents[2] / "sample_data"


@dataclass(frozen=True)
class Try:
    """A command in its folder, ready to run."""

    arguments: tuple[str, ...]
    rows_out: bool = False
    trains: bool = False


@dataclass
class Tally:
    """What came of the cases so far."""

    codes: Counter[tuple[str, int]] = field(default_factory=Counter)
    found: list[str] = field(default_factory=list)
    slowest: float = 0
    largest: int = 0
    n: int = 0
    real: int = 0

    def text(self) -> str:
        codes = sorted({code for _, code in self.codes})
        width = max((len(command) for command, _ in self.codes), default=0)
        rows = [" " * width + "".join(f"{code:>8}" for code in codes)]
        for command in sorted({command for command, _ in self.codes}):
            rows.append(f"{command:<{width}}" + "".join(f"{self.codes[command, code]:>8}" for code in codes))
        rows.append(
            f"{self.n:,} cases ({self.real:,} as a process of their own), {len(self.found)} findings;"
            f" the slowest took {self.slowest:.1f} s, the largest {self.largest >> 20:,} MiB"
        )
        return "\n".join(rows)


def small_data(folder: Path, rows: int = 300) -> None:
    """The first rows of the sample data, by task."""
    for task in ("ctr", "match", "mtl"):
        (folder / task).mkdir(parents=True)
        for file in sorted((SAMPLES / task).glob("*.parquet")):
            table = pq.read_table(file)
            pq.write_table(table if file.stem == "items" else table.slice(0, rows), folder / task / file.name)


def sound_specs() -> dict[str, dict[str, str]]:
    """The specs beside the sample data, on the small data, by task and name."""
    found: dict[str, dict[str, str]] = {}
    for task in ("ctr", "match", "mtl"):
        for file in sorted((SAMPLES / task).glob("*.yaml")):
            spec = yaml.safe_load(file.read_text())
            for part in ("train", "valid", "test", "items"):
                if part in spec["data"]:
                    spec["data"][part] = f"data/{task}/{spec['data'][part]}"
            found.setdefault(task, {})[file.name] = yaml.safe_dump(spec, sort_keys=False)
    return found


class Specs:
    """Cases of broken specs."""

    def __init__(self, world: Path) -> None:
        self.data = world / "data"
        small_data(self.data)
        self.texts = sound_specs()

    def prepare(self, seed: str, folder: Path) -> Try:
        case = broken_specs.case(seed, {task: list(texts.values()) for task, texts in self.texts.items()})
        (folder / "data").symlink_to(self.data)
        (folder / "spec.yaml").write_bytes(case.spec)
        (folder / "values.json").write_text(json.dumps({"a": [1, None, 1e400, 2**70], "b": "x"}))
        (folder / "deep.json").write_text("[" * 100_000)
        (folder / "broken.py").write_text("class Net(:\n")
        (folder / "raises.py").write_text("class Net:\n    pass\nraise KeyError('nix')\n")
        (folder / "exits.py").write_text("import sys\nclass Net:\n    pass\nsys.exit(0)\n")
        return Try((case.command, "spec.yaml", *case.arguments), case.command == "validate", case.command != "validate")


# task -> the spec that is trained on it
TRAINED = {"ctr": "deepfm.yaml", "match": "dssm.yaml", "mtl": "mmoe.yaml"}


def train(world: Path, texts: dict[str, dict[str, str]]) -> dict[str, Path]:
    """A run of each task, one epoch on the small data."""
    runs = {}
    for task, name in TRAINED.items():
        (world / "spec.yaml").write_text(texts[task][name])
        runs[task] = world / "runs" / task
        ended = sandbox.run(
            (f"train-{task}", "spec.yaml", "--epochs", "1", "--threads", "1", "-o", runs[task]), world, world
        )
        if ended.code:
            raise SystemExit(f"train-{task} does not work: {ended.err}")
    return runs


def using(rng: random.Random, task: str, run: str, data: str, sound: Path) -> list[str]:
    """The arguments of a command that uses a run on ``data``; other files that it needs are sound ones."""
    output = rng.choice(["out.parquet", "out.csv", "out.jsonl", "out.arrow"])
    choices = [
        ["evaluate", run, "-d", data],
        ["predict", run, "-d", data, "-o", output],
        ["predict", run, "-d", data, "-o", output],
    ]
    if task == "match":
        items, users = str(sound / "items.parquet"), str(sound / "test.parquet")
        choices += [
            ["embed", run, "--mode", "item", "-d", data, "-o", rng.choice([output, "out.npy", "out.faiss"])],
            ["embed", run, "--mode", "user", "-d", data, "-o", output],
            ["embed", run, "--mode", "user", "-d", users, "--history", data, "-o", output],
            ["recommend", run, "--users", data, "-k", "5", "-o", output],
            ["recommend", run, "--users", users, "--items", data, "--exclude-seen", "-k", "5", "-o", output],
            ["recommend", run, "--users", data, "--items", items, "-k", "5", "-o", output],
            ["evaluate", run, "-d", users, "--history", data],
        ]
    return rng.choice(choices)


class Files:
    """Cases of broken data files."""

    PARTS = ("train", "valid", "test", "items")

    def __init__(self, world: Path) -> None:
        self.data = world / "data"
        small_data(self.data)
        self.texts = sound_specs()
        self.runs = train(world, self.texts)

    def prepare(self, seed: str, folder: Path) -> Try:
        rng = random.Random(seed)
        task = rng.choice(list(self.runs))
        part = rng.choice([part for part in self.PARTS if (self.data / task / f"{part}.parquet").exists()])
        table = pq.read_table(self.data / task / f"{part}.parquet").slice(0, 80)
        suffix, content = broken_files.broken_file(rng, table)
        data = f"data.{suffix}"
        (folder / data).write_bytes(content)
        command = rng.choice(["init", "validate", "train", "use", "use", "use", "use"])
        if command == "init":
            return Try(("init", data, "--task", task, "-o", "spec.yaml"))
        if command == "use":
            arguments = using(rng, task, str(self.runs[task]), data, self.data / task)
            return Try((*arguments, *rng.choice([[], [], ["--input-format", suffix.split(".")[0]]])))
        spec = yaml.safe_load(rng.choice(list(self.texts[task].values())))
        spec["data"] = {name: str(self.data.parent / path) for name, path in spec["data"].items()} | {part: data}
        (folder / "spec.yaml").write_text(yaml.safe_dump(spec, sort_keys=False))
        if command == "validate":
            return Try(("validate", "spec.yaml"), rows_out=True)
        return Try((f"train-{task}", "spec.yaml", "--epochs", "1", "--threads", "1", "-o", "out"), trains=True)


class Runs:
    """Cases of run directories in which a file is not what training wrote."""

    def __init__(self, world: Path) -> None:
        self.data = world / "data"
        small_data(self.data)
        self.runs = train(world, sound_specs())

    def prepare(self, seed: str, folder: Path) -> Try:
        rng = random.Random(seed)
        task = rng.choice(list(self.runs))
        broken_runs.break_run(rng, self.runs[task], folder / "run")
        sound = self.data / task
        return Try(tuple(using(rng, task, "run", str(sound / "test.parquet"), sound)), trains=True)


KINDS: dict[str, Callable[[Path], Specs | Files | Runs]] = {"specs": Specs, "files": Files, "runs": Runs}


def numbers(cases: int | None, seconds: float | None, only: int | None) -> Iterator[int]:
    started, n = time.monotonic(), 0
    if only is not None:
        yield only
        return
    while (cases is None or n < cases) and (seconds is None or time.monotonic() - started < seconds):
        yield n
        n += 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--cases", type=int)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--seed", default="1")
    parser.add_argument("--only", type=int, metavar="N", help="one case, and show how it ends")
    parser.add_argument("--real-every", type=int, default=0, metavar="N", help="each N-th as a process of its own")
    parser.add_argument("--found", type=Path, default=Path(tempfile.gettempdir()) / "rechub-fuzz", metavar="DIR")
    given = parser.parse_args()
    if given.cases is None and given.seconds is None and given.only is None:
        given.cases = 1000
    sandbox.preload()
    tally = Tally()
    with tempfile.TemporaryDirectory(prefix="rechub-fuzz-") as temporary:
        world = Path(temporary)
        kind, host = KINDS[given.kind](world), sandbox.Host(world)
        for n in numbers(given.cases, given.seconds, given.only):
            one(kind, world, given, n, host, tally)
            if n % 100 == 99:
                print(f"{tally.n:,} cases, {len(tally.found)} findings", flush=True)
        host.close()
    print(tally.text())
    for text in tally.found:
        print(text)
    return bool(tally.found)


def one(
    kind: Specs | Files | Runs, world: Path, given: argparse.Namespace, n: int, host: sandbox.Host, tally: Tally
) -> None:
    folder = world / "case"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    trial = kind.prepare(f"{given.seed}-{n}", folder)
    before = sandbox.files_of(folder)
    real = bool(given.real_every) and n % given.real_every == given.real_every - 1
    alone = real or given.only is not None
    ended = sandbox.run(trial.arguments, folder, world, real=real) if alone else host.run(trial.arguments, folder)
    wrong = sandbox.faults(ended, before, sandbox.files_of(folder), rows_out=trial.rows_out, trains=trial.trains)
    tally.n += 1
    tally.real += real
    tally.codes[trial.arguments[0], ended.code] += 1
    tally.slowest, tally.largest = max(tally.slowest, ended.seconds), max(tally.largest, ended.peak)
    if given.only is not None:
        print(f"rechub {' '.join(trial.arguments)}\n-> {ended.code}\n{ended.out}{ended.err}")
    if wrong:
        kept = given.found / f"{given.kind}-{given.seed}-{n}"
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(folder, kept, symlinks=True)
        (kept / ".ended").write_text(f"{trial.arguments}\n{ended.code}\n{ended.out}\n{ended.err}")
        tally.found.append(
            f"{kept}: {'; '.join(wrong)}\n    rechub {' '.join(trial.arguments)[:300]}\n    {ended.last[:300]}"
        )


if __name__ == "__main__":
    sys.exit(main())
