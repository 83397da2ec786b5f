"""Accuracy on real data, against the published tables: `make gates` (some hours on two cores; `--only WORD` for some).

Needs the data folder that RECHUB_DATA names. Prints a table of the mean test metric over the seeds and wall seconds;
ends with exit code 1 where a gate does not hold. With --peers PYTHON the other libraries run beside ours.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import shutil
import statistics
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import census_data
import match_data
from ours import peer, train

SPECS = Path(__file__).parent / "specs"


MATCH = {
    "ml-1m": match_data.ml_1m,
    "ml-1m-sasrec": match_data.ml_1m_sasrec,
    "beauty": match_data.beauty,
    "yoochoose": match_data.yoochoose,
}


@dataclass(frozen=True)
class Gate:
    """One spec over several seeds, and the mean of a test metric that it must reach."""

    name: str
    spec: str
    folder: str
    least: float
    parts: dict[str, str] = field(default_factory=dict)  # "train" -> file, where the spec does not name it
    settings: dict[str, object] = field(default_factory=dict)
    metric: str = "auc"
    command: str = "train-ctr"
    seeds: int = 5  # of those that the gates are run with

    def run(self, data: Path, seed: int) -> dict[str, object]:
        """Train from a folder that holds the spec beside the data's files."""
        with tempfile.TemporaryDirectory() as name:
            place = Path(name)
            for file in (data / self.folder).glob("*.parquet"):
                (place / file.name).symlink_to(file.resolve())
            shutil.copy(SPECS / self.spec, place)
            flags = [word for part, file in self.parts.items() for word in (f"--{part}", place / file)]
            return train(place / self.spec, *flags, command=self.command, trainer__seed=seed, **self.settings)


def match(name: str, spec: str, folder: str, metric: str, least: float, **settings: object) -> Gate:
    """A retrieval gate: one seed, on what match_data.py wrote."""
    return Gate(name, spec, folder, least, {}, settings, metric, "train-match", 1)


def census(name: str, spec: str, metric: str, least: float) -> Gate:
    """A multi-task gate: three seeds, on what census_data.py wrote."""
    return Gate(name, spec, "census", least, {}, {}, metric, "train-mtl", 3)


FRAPPE = {
    "train": "frappe_x1_train_redrawn.parquet",
    "valid": "frappe_x1_valid.parquet",
    "test": "frappe_x1_test.parquet",
}
SAMPLED = {
    "trainer__negatives": '{"name": "popularity", "n": 256, "per": "row"}',
    "trainer__n_epoch": 36,
    "trainer__scheduler_params": '{"milestones": [26, 32], "gamma": 0.3}',
}
PAPER = {
    "trainer__negatives": '{"name": "uniform", "n": 1, "per": "query"}',
    "trainer__loss": "bce",
    "trainer__mode": 0,
    "trainer__precision": "bf16",
    "trainer__n_epoch": 80,
    "trainer__earlystop_patience": 12,
    "model__params__norm_first": "false",
    "model__params__places": "newest",
    "model__params__n_heads": 2,
}
GATES = [
    Gate("frappe deepfm fp32", "frappe_deepfm.yaml", "frappe", 0.9836, FRAPPE),
    Gate("frappe deepfm bf16", "frappe_deepfm.yaml", "frappe", 0.9836, FRAPPE, {"trainer__precision": "bf16"}),
    Gate("frappe dcn_v2 fp32", "frappe_dcn_v2.yaml", "frappe", 0.9838, FRAPPE),
    Gate("criteo-10k deepfm", "criteo_10k.yaml", "criteo-10k", 0.72, {"train": "train_10k.parquet"}),
    Gate("ml-100k deepfm", "ml_100k.yaml", "ml-100k", 0.785),
    match("ml-1m youtube_dnn", "ml_1m_youtube_dnn.yaml", "ml-1m", "recall@50", 0.34),
    match("ml-1m dssm", "ml_1m_dssm.yaml", "ml-1m", "recall@50", 0.36),
    match("ml-1m comirec_sa", "ml_1m_comirec_sa.yaml", "ml-1m", "recall@50", 0.44),
    match("ml-1m sasrec full", "ml_1m_sasrec.yaml", "ml-1m-sasrec", "ndcg@10", 0.18),
    match("ml-1m sasrec 256", "ml_1m_sasrec.yaml", "ml-1m-sasrec", "ndcg@10", 0.175, **SAMPLED),
    match("ml-1m gru4rec full", "ml_1m_gru4rec.yaml", "ml-1m-sasrec", "ndcg@10", 0.16),
    match("beauty sasrec full", "beauty_sasrec.yaml", "beauty", "ndcg@10", 0.036),
    match("beauty sasrec bce", "beauty_sasrec.yaml", "beauty", "ndcg@10", 0.032, **PAPER),
    match("yoochoose narm", "yoochoose_narm.yaml", "yoochoose", "recall@20", 0.68),
    match("yoochoose narm", "yoochoose_narm.yaml", "yoochoose", "mrr@20", 0.28),
    match("yoochoose stamp", "yoochoose_stamp.yaml", "yoochoose", "recall@20", 0.68),
    match("yoochoose stamp", "yoochoose_stamp.yaml", "yoochoose", "mrr@20", 0.28),
    census("census mmoe", "census_mmoe.yaml", "auc_income", 0.953),
    census("census ple", "census_ple.yaml", "auc_income", 0.953),
]


@functools.cache
def prepared(data: Path, folder: str) -> Path:
    """Where a gate's folder is: among the data, or made from it for as long as the gates run."""
    if folder != "census" and folder not in MATCH:
        return data
    place = Path(tempfile.mkdtemp(dir=os.environ.get("BENCH_RUNS")))
    if folder == "census":
        census_data.make(data / "census-income-kdd", place / folder)
    else:
        MATCH[folder](data, place)
    return place


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
        for seed in a.seeds[: gate.seeds]:
            result = gate.run(prepared(data, gate.folder), seed)
            aucs.append(json.loads((Path(str(result["run"])) / "run.json").read_text())["test"][gate.metric])
            seconds.append(float(str(result["total"])))
            said = f"test {gate.metric} {aucs[-1]:.5f}, {result['epochs']} epochs, {seconds[-1]:.1f} s"
            line = f"{gate.name} seed {seed}: {said}"
            if a.peers and a.peer_data and gate.folder == "frappe":
                model = gate.spec.split("_", 1)[1].removesuffix(".yaml")
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
