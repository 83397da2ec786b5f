"""The same loops on a GPU: the command, the bare loop on batches that lie in the GPU's memory, and the peers."""

from __future__ import annotations

import shutil
from dataclasses import dataclass

import ours
from harness.records import Results
from harness.workplace import SPEEDS, Workplace

from measures.measure import Measure, Value

EPOCHS = 5  # of ours the quickest counts; of a peer the second, for its first starts the GPU too
WORKERS = 8  # processes that make a peer's batches row by row, so that the GPU need not wait for one


@dataclass(frozen=True, slots=True)
class OnGpu:
    """One model: ours in fp32 and bf16 beside the bare loop, then each peer, at the sizes of the spec."""

    spec: str
    dataset: str
    rows: int
    peer_rows: int
    peers: tuple[str, ...]
    command: str = "train-ctr"
    negatives: str | None = None

    def __call__(self, place: Workplace, number: int) -> Results:
        seed, found = 2021 + number, {}
        for title, precision in (("rechub", "fp32"), ("rechub bf16", "bf16")):
            found[title] = self.ours(place, seed, precision)
        given = {"seed": seed, "device": "cuda", "workers": WORKERS, "format": "npz", "warm": 1}
        rows = place.rows(self.peer_rows)
        return {
            **found,
            **place.peers(self.peers, "loop", place.dataset(self.dataset, "ids"), self.spec, rows=rows, **given),
        }

    def ours(self, place: Workplace, seed: int, precision: str) -> dict[str, float]:
        settings = {"trainer__seed": seed, "trainer__device": "cuda", "trainer__precision": precision}
        if self.negatives is not None:
            settings |= {"trainer__negatives": self.negatives}
        data = place.dataset(self.dataset, "raw") / "train.parquet"
        given = ("--train", data, "--limit-rows", place.rows(self.rows), "--epochs", EPOCHS)
        done = ours.train(SPEEDS / f"{self.spec}.yaml", *given, command=self.command, **settings)
        values = {name: float(value) for name, value in done.items() if name not in ("run", "anonymous_mb")}
        if self.command != "train-match":
            bare = place.inside(
                "bare_loop", done["run"], data, "--limit-rows", place.rows(self.rows), "--device", "cuda"
            )
            values["ratio"] = done["epoch_s"] / bare["epoch_s"]
        shutil.rmtree(done["run"].parent)
        return values


def values(unit: str = "rows") -> tuple[Value, ...]:
    return (
        Value("rows_per_s", f"training {unit}/s"),
        Value("ratio", "an epoch of the command over one of the bare loop", lower=True, digits=2),
        Value("start_s", "seconds to the first epoch", lower=True, digits=1),
    )


SECTION = "On a GPU"
CTR = ("torch_rechub_ctr", "fuxictr_ctr")
MEASURES = (
    Measure(
        "gpu.deepfm",
        SECTION,
        "DeepFM, Criteo-like 1M rows × 39, batch 4096",
        OnGpu("deepfm", "criteo", 1_000_000, 200_000, CTR),
        values(),
    ),
    Measure(
        "gpu.din",
        SECTION,
        "DIN, histories of up to 50, 200k rows, batch 1024",
        OnGpu("din", "behaviour", 200_000, 50_000, CTR),
        values(),
    ),
    Measure(
        "gpu.mmoe",
        SECTION,
        "MMoE, census-like 200k rows, batch 1024",
        OnGpu("mmoe", "census", 200_000, 100_000, ("torch_rechub_mtl", "fuxictr_mtl"), "train-mtl"),
        values(),
    ),
    Measure(
        "gpu.sasrec",
        SECTION,
        "SASRec, MovieLens-like 1M events, one sampled negative",
        OnGpu(
            "sasrec",
            "films",
            1_000_000,
            1_000_000,
            ("torch_rechub_sasrec",),
            "train-match",
            negatives='{"name": "uniform", "n": 1}',
        ),
        values("events"),
    ),
)
