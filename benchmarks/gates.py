"""Accuracy on real data, against the published tables: `make gates` (half an hour or so on two cores).

Needs the data folder that RECHUB_DATA names. Prints a table of mean test AUC over the seeds and wall seconds;
ends with exit code 1 where a gate does not hold. With --peers PYTHON the other libraries run beside ours.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from ours import peer, train

SPECS = Path(__file__).parent / "specs"


@dataclass(frozen=True)
class Gate:
    """One spec over several seeds, and the mean test AUC it must reach."""

    name: str
    spec: str
    folder: str
    least: float
    parts: dict[str, str] = field(default_factory=dict)  # "train" -> file, where the spec does not name it
    settings: dict[str, object] = field(default_factory=dict)

    def run(self, data: Path, seed: int) -> dict[str, object]:
        """Train from a folder that holds the spec beside the data's files."""
        with tempfile.TemporaryDirectory() as name:
            place = Path(name)
            for file in (data / self.folder).glob("*.parquet"):
                (place / file.name).symlink_to(file.resolve())
            shutil.copy(SPECS / self.spec, place)
            flags = [word for part, file in self.parts.items() for word in (f"--{part}", place / file)]
            return train(place / self.spec, *flags, trainer__seed=seed, **self.settings)


FRAPPE = {
    "train": "frappe_x1_train_redrawn.parquet",
    "valid": "frappe_x1_valid.parquet",
    "test": "frappe_x1_test.parquet",
}
GATES = [
    Gate("frappe deepfm fp32", "frappe_deepfm.yaml", "frappe", 0.9836, FRAPPE),
    Gate("frappe deepfm bf16", "frappe_deepfm.yaml", "frappe", 0.9836, FRAPPE, {"trainer__precision": "bf16"}),
    Gate("frappe dcn_v2 fp32", "frappe_dcn_v2.yaml", "frappe", 0.9838, FRAPPE),
    Gate("criteo-10k deepfm", "criteo_10k.yaml", "criteo-10k", 0.72, {"train": "train_10k.parquet"}),
    Gate("ml-100k deepfm", "ml_100k.yaml", "ml-100k", 0.785),
]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="*", default=[2021, 190034, 992817, 27011, 948432])
    parser.add_argument("--only", default="", help="gates whose name holds this word")
    parser.add_argument("--peers", type=Path, help="a Python that has FuxiCTR: it runs beside ours, seed by seed")
    parser.add_argument("--peer-data", type=Path, help="frappe as peers/tables.py encodes it")
    a = parser.parse_args()
    data = Path(os.environ.get("RECHUB_DATA", "../shared/data")).resolve()
    if not data.is_dir():
        print(f"no data at {data}: set RECHUB_DATA", file=sys.stderr)
        return 66
    failed = False
    for gate in GATES:
        if a.only not in gate.name:
            continue
        aucs, seconds, theirs = [], [], []
        for seed in a.seeds:
            result = gate.run(data, seed)
            aucs.append(json.loads((Path(str(result["run"])) / "run.json").read_text())["test"]["auc"])
            seconds.append(float(str(result["total"])))
            line = f"{gate.name} seed {seed}: test AUC {aucs[-1]:.5f}, {result['epochs']} epochs, {seconds[-1]:.1f} s"
            if a.peers and a.peer_data and gate.folder == "frappe":
                model = gate.spec.split("_", 1)[1].removesuffix(".yaml").replace("_", "")
                options = ["--dropout", 0.2] if model == "deepfm" else ["--dropout", 0.4, "--cross", 4]
                options += ["--dim", 10, "--hidden", "400,400,400", "--embedding-l2", 0.05, "--seed", seed]
                theirs.append(peer(a.peers, "fuxictr_ctr", "fit", a.peer_data, "--model", model, *options))
                line += f"; FuxiCTR {theirs[-1]['auc']:.5f}, {theirs[-1]['total']:.1f} s"
            print(line, flush=True)
        mean = statistics.mean(aucs)
        held = mean >= gate.least
        failed |= not held
        print(
            f"{gate.name}: mean {mean:.5f} (bar {gate.least}: {'held' if held else 'MISSED'}),"
            f" deviation {statistics.pstdev(aucs):.5f}, median {statistics.median(seconds):.1f} s"
        )
        if theirs:
            ratio = statistics.median(float(str(run["total"])) / own for run, own in zip(theirs, seconds, strict=True))
            mean = statistics.mean(float(str(run["auc"])) for run in theirs)
            print(f"{gate.name}: FuxiCTR mean {mean:.5f}, {ratio:.2f} times our wall time")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
