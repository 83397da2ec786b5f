"""Measure us against torch-rechub and FuxiCTR: the same rows, the same model size, runs in alternation.

    python benchmarks/bench.py --work FOLDER --peers PYTHON [--rounds 5] [--only loop bf16 small raw predict auc mmoe]

Prints one line a run and, at the end, medians, spread and ratios.
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections import defaultdict
from pathlib import Path

import census_data
from ours import evaluate, peer, rechub, train

HERE = Path(__file__).parent
SPEC = HERE / "specs" / "criteo.yaml"
CENSUS = HERE / "specs" / "census_speed.yaml"
PEERS = ("torch_rechub_ctr", "fuxictr_ctr")


def our_loop(data: Path, **settings: object) -> float:
    return float(train(SPEC, "--train", data / "raw" / "train.parquet", **settings)["rows_per_s"])


def loop(data: Path, python: Path) -> dict[str, float]:
    """Training rows/s at batch 4096, fp32: file on disk to trained weights, after start-up and encoding."""
    speed = {"rechub": our_loop(data)}
    for name in PEERS:
        speed[name] = float(peer(python, name, "loop", data / "ids", "--rows", 200_000)["rows_per_s"])
    return speed


def bf16(data: Path, python: Path) -> dict[str, float]:
    """Training rows/s at batch 4096, ours in bf16."""
    speed = {"rechub": our_loop(data, trainer__precision="bf16")}
    for name in PEERS:
        speed[name] = float(peer(python, name, "loop", data / "ids", "--rows", 200_000)["rows_per_s"])
    return speed


def small(data: Path, python: Path) -> dict[str, float]:
    """Training rows/s at batch 256, fp32."""
    speed = {"rechub": our_loop(data, trainer__batch_size=256)}
    for name in PEERS:
        speed[name] = float(peer(python, name, "loop", data / "ids", "--rows", 20_000, "--batch", 256)["rows_per_s"])
    return speed


def raw(data: Path, python: Path) -> dict[str, float]:
    """Runs an hour of the whole process: raw string columns to one trained epoch, cold cache."""
    ours = train(SPEC, "--train", data / "raw" / "train.parquet")["total"]
    speed = {"rechub": 3600 / float(ours)}  # type: ignore[arg-type]
    for name in PEERS:
        speed[name] = 3600 / float(peer(python, name, "raw", data / "raw")["total"])
    return speed


def predict(data: Path, python: Path) -> dict[str, float]:
    """Predicted rows/s: ours Parquet to Parquet with start-up, theirs in memory without it."""
    run = train(SPEC, "--train", data / "raw" / "train.parquet")["run"]
    target = Path(str(run)).parent / "scores.parquet"
    _, seconds = rechub("predict", run, "--data", data / "raw" / "train.parquet", "-o", target)
    speed = {"rechub": 1_000_000 / seconds}
    for name in PEERS:
        speed[name] = float(peer(python, name, "loop", data / "ids", "--rows", 40_000)["predict_rows_per_s"])
    return speed


def auc(data: Path, python: Path) -> dict[str, float]:
    """Test AUC after one epoch over all rows, batch 4096."""
    run = train(SPEC, "--train", data / "raw" / "train.parquet")["run"]
    score = {"rechub": evaluate(Path(str(run)), data / "raw" / "test.parquet")["auc"]}
    for name in PEERS:
        score[name] = float(peer(python, name, "loop", data / "ids")["auc"])
    return score


def mmoe(data: Path, python: Path) -> dict[str, float]:
    """MMoE's training rows/s on census, batch 1024, eight experts of 256-128; ours in bf16."""
    census = data.parent / "census"
    if not census.exists():
        census_data.make(Path(os.environ.get("RECHUB_DATA", "../shared/data")) / "census-income-kdd", census)
    settings = {"command": "train-mtl", "trainer__precision": "bf16"}
    speed = {"rechub": float(train(CENSUS, "--train", census / "train.parquet", **settings)["rows_per_s"])}
    size = ("--hidden", "256,128", "--tower", "64", "--dim", 16)
    speed["torch_rechub_mtl"] = float(peer(python, "torch_rechub_mtl", census, "--loop", *size)["rows_per_s"])
    speed["fuxictr_mtl"] = float(peer(python, "fuxictr_mtl", census, *size)["rows_per_s"])
    return speed


MEASURES = {measure.__name__: measure for measure in (loop, bf16, small, raw, predict, auc, mmoe)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--peers", type=Path, required=True, help="the Python that has the other libraries")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="*", choices=MEASURES, default=list(MEASURES))
    a = parser.parse_args()
    results: dict[str, dict[str, list[float]]] = {name: defaultdict(list) for name in a.only}
    for number in range(1, a.rounds + 1):
        for name in a.only:
            if name == "auc" and number > 1:
                continue
            for library, value in MEASURES[name](a.work / "criteo", a.peers).items():
                results[name][library].append(value)
                print(f"round {number} {name:8} {library:18} {value:12,.4f}", flush=True)
    for name, values in results.items():
        print(f"\n{name}: {MEASURES[name].__doc__}")
        for library, runs in values.items():
            ratios = [ours / theirs for ours, theirs in zip(values["rechub"], runs, strict=True)]
            print(
                f"  {library:18} median {statistics.median(runs):12,.4f}  from {min(runs):,.4f} to {max(runs):,.4f}"
                f"  rechub / it {statistics.median(ratios):.2f}"
            )


if __name__ == "__main__":
    main()
