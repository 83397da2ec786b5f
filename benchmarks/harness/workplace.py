"""Where a benchmark finds its data, the peers' Pythons, and a place for runs."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import make_data
import ours
import yaml

from harness.process import Ended, run
from harness.records import Results

HERE = Path(__file__).parents[1]
SPEEDS = HERE / "specs" / "speed"
WITHOUT_BAR, ENOUGH = ("deepctr_ctr",), 2  # peers that nothing is held to, and the rounds that say enough of them
LIBRARIES = {"torch_rechub": "torch-rechub", "fuxictr": "fuxictr", "deepctr": "deepctr-torch", "recbole": "recbole"}


@dataclass(slots=True)
class Workplace:
    """Everything is below ``work``: the data, the peers' environments; what is not kept in ``scratch``."""

    work: Path
    scratch: Path
    quick: bool
    trained: dict[str, Path] = field(default_factory=dict)

    def dataset(self, name: str, kind: str) -> Path:
        """A folder with train.parquet and test.parquet; ``kind``: raw or ids."""
        folder = self.work / ("data-quick" if self.quick else "data")
        return make_data.make(name, folder, make_data.QUICK if self.quick else 1.0) / kind

    def rows(self, wanted: int) -> int:
        return max(2_000, int(wanted * make_data.QUICK)) if self.quick else wanted

    def peers(self, scripts: Sequence[str], mode: str, folder: Path, spec: str, **options: object) -> Results:
        """One run of each peer's script at the sizes of a spec. A library that is not there, or fails, is left out."""
        found: dict[str, dict[str, Any]] = {}
        for script in scripts:
            python = self.work / ("recbole" if script.startswith("recbole") else "peers") / "bin" / "python"
            if not python.exists():
                print(f"{script}: left out, there is no {python}", file=sys.stderr, flush=True)
                continue
            given = {**sizes(spec), **options}
            words = [word for name, value in given.items() for word in (f"--{name}", value)]
            # What they leave behind goes with the scratch folder; Ray's sockets need a short path.
            places = {"TMPDIR": str(self.scratch), "RAY_TMPDIR": tempfile.gettempdir()}
            ended = run([python, HERE / "peers" / f"{script}.py", mode, folder, *words], **places)
            try:
                found[library(script)] = {**ended.result(), **ended.cost()}
            except RuntimeError as error:
                print(f"{script} {mode}: left out, {error}", file=sys.stderr, flush=True)
        return found

    def inside(self, script: str, *arguments: object) -> dict[str, Any]:
        """One run of a script that calls into rechub or torch itself."""
        ended = run([sys.executable, HERE / "inside" / f"{script}.py", *arguments])
        return {**ended.result(), **ended.cost()}

    def model(self, spec: str, dataset: str, command: str = "train-ctr", **settings: object) -> Path:
        """A run of a spec, trained once and kept while the benchmark runs."""
        key = f"{spec} {settings}"
        if key not in self.trained:
            folder = Path(tempfile.mkdtemp(dir=self.scratch))
            data = self.dataset(dataset, "raw") / "train.parquet"
            done = ours.train(SPEEDS / f"{spec}.yaml", "--train", data, command=command, folder=folder, **settings)
            self.trained[key] = done["run"]
        return self.trained[key]

    def rechub(self, *arguments: object) -> Ended:
        return ours.rechub(*arguments)


def in_round(scripts: Sequence[str], number: int) -> list[str]:
    """The peers' scripts that take part in a round."""
    return [script for script in scripts if number <= ENOUGH or script not in WITHOUT_BAR]


def library(script: str) -> str:
    """The name of the library that a script drives."""
    return next(name for start, name in LIBRARIES.items() if script.startswith(start))


def sizes(spec: str) -> dict[str, object]:
    """The options of a peer's script that give it the size of a spec's model."""
    asked = yaml.safe_load((SPEEDS / f"{spec}.yaml").read_text())
    params: Mapping[str, Any] = asked["model"].get("params", {})
    options: dict[str, object] = {
        "model": asked["model"]["name"],
        "dim": asked["embed_dim"],
        "batch": asked["trainer"]["batch_size"],
    }
    names = {
        "hidden_dims": "hidden",
        "expert_hidden_dims": "hidden",
        "tower_hidden_dims": "tower",
        "attention_hidden_dims": "attention",
        "n_experts": "experts",
        "n_cross_layers": "cross",
        "n_blocks": "blocks",
        "dropout": "dropout",
    }
    for theirs, name in names.items():
        if theirs in params:
            value = params[theirs]
            options[name] = ",".join(map(str, value)) if isinstance(value, list) else value
    for feature in asked["features"].values():
        if "max_len" in feature:
            options["length"] = feature["max_len"]
    return options
