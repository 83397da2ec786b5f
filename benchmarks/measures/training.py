"""Training loops beside those of the peers: the same model, size, rows and seed, one library after the other."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import Any

import ours
from harness.machine import precisions
from harness.records import Results
from harness.workplace import SPEEDS, Workplace, in_round

from measures.measure import Measure, Value


@dataclass(frozen=True, slots=True)
class Loop:
    """One model over some rows of a data set, once around: ours in each precision, then each peer."""

    spec: str
    dataset: str
    rows: int
    peers: tuple[str, ...]
    command: str = "train-ctr"
    batch: int | None = None  # of all, instead of the spec's
    peer_batch: int | None = None  # where their rows are of another kind
    negatives: str | None = None  # of a sequential model
    l2: float | None = None  # of the embeddings, on both sides

    def __call__(self, place: Workplace, number: int) -> Results:
        seed = 2021 + number
        found = {title: self.ours(place, seed, trainer__precision=each) for title, each in precisions().items()}
        options: dict[str, Any] = {"rows": place.rows(self.rows), "seed": seed}
        batch = self.peer_batch or self.batch
        options |= {} if batch is None else {"batch": batch}
        options |= {} if self.l2 is None else {"embedding-l2": self.l2}
        peers = in_round(self.peers, number)
        return {**found, **place.peers(peers, "loop", place.dataset(self.dataset, "ids"), self.spec, **options)}

    def ours(self, place: Workplace, seed: int, **settings: object) -> dict[str, float]:
        settings["trainer__seed"] = seed
        if self.batch is not None:
            settings["trainer__batch_size"] = self.batch
        if self.negatives is not None:
            settings |= {"trainer__negatives": self.negatives}
        if self.l2 is not None:
            settings["trainer__embedding_optimizer__l2"] = self.l2
        data = place.dataset(self.dataset, "raw")
        rows = ("--limit-rows", place.rows(self.rows))
        spec = SPEEDS / f"{self.spec}.yaml"
        done = ours.train(spec, "--train", data / "train.parquet", *rows, command=self.command, **settings)
        values = {name: float(value) for name, value in done.items() if name not in ("run", "anonymous_mb")}
        if self.command != "train-match":
            metrics = ours.evaluate(done["run"], data / "test.parquet")
            values |= {name: value for name, value in metrics.items() if name.startswith("auc")}
        shutil.rmtree(done["run"].parent)
        return values


CTR = ("torch_rechub_ctr", "fuxictr_ctr", "deepctr_ctr")


def values(*auc: str, unit: str = "rows", **bars: Any) -> tuple[Value, ...]:
    named = {"auc": "AUC of the test rows", "auc_income": "AUC, first label", "auc_marital": "AUC, second label"}
    return (
        Value("rows_per_s", f"training {unit}/s", **bars),
        Value("peak_mb", "peak memory (RSS, MiB)", lower=True),
        *(Value(name, named[name], digits=4) for name in auc),
    )


FLOAT32, BFLOAT16 = {"torch-rechub": 6.5, "fuxictr": 6.0}, {"torch-rechub": 10.0, "fuxictr": 9.0}
FEW = 2  # rounds, where nothing is held to a bar
SECTION = "Training"
MEASURES = (
    Measure(
        "train.deepfm",
        SECTION,
        "DeepFM, Criteo-like 1M rows × 39, batch 4096",
        Loop("deepfm", "criteo", 1_000_000, CTR),
        values("auc", ratios={"rechub": FLOAT32, "rechub bf16": BFLOAT16}),
    ),
    Measure(
        "train.deepfm_l2",
        SECTION,
        "the same with a penalty of 1e-5 on the embeddings",
        Loop("deepfm", "criteo", 1_000_000, ("torch_rechub_ctr", "fuxictr_ctr"), l2=1e-5),
        values("auc", ratios={"rechub": FLOAT32, "rechub bf16": BFLOAT16}),
    ),
    Measure(
        "train.deepfm_256",
        SECTION,
        "the same at batch 256, 100k rows",
        Loop("deepfm", "criteo", 100_000, CTR, batch=256),
        values("auc", ratios={"rechub": {"torch-rechub": 15.0, "fuxictr": 15.0}}),
    ),
    Measure(
        "train.frappe",
        SECTION,
        "DeepFM, Frappe-like 200k rows × 10, batch 4096",
        Loop("frappe", "frappe", 200_000, CTR),
        values("auc"),
        rounds=FEW,
    ),
    Measure(
        "train.dcn_v2",
        SECTION,
        "DCN-V2, Criteo-like 200k rows, batch 4096",
        Loop("dcn_v2", "criteo", 200_000, CTR),
        values("auc"),
        rounds=FEW,
    ),
    Measure(
        "train.din",
        SECTION,
        "DIN, histories of up to 50, 100k rows, batch 1024",
        Loop("din", "behaviour", 100_000, CTR),
        values("auc"),
        rounds=FEW,
    ),
    Measure(
        "train.mmoe",
        SECTION,
        "MMoE, census-like 200k rows, batch 1024",
        Loop("mmoe", "census", 200_000, ("torch_rechub_mtl", "fuxictr_mtl", "deepctr_ctr"), "train-mtl"),
        values("auc_income", "auc_marital"),
        rounds=FEW,
    ),
    Measure(
        "train.sasrec",
        SECTION,
        "SASRec, MovieLens-like 1M events, one sampled negative",
        Loop(
            "sasrec",
            "films",
            1_000_000,
            ("torch_rechub_sasrec",),
            "train-match",
            negatives='{"name": "uniform", "n": 1}',
        ),
        values(unit="events"),
        rounds=FEW,
    ),
    Measure(
        "train.sasrec_full",
        SECTION,
        "SASRec, 50k events, the whole softmax",
        Loop("sasrec", "films", 50_000, ("recbole_sasrec",), "train-match", peer_batch=512),
        values(unit="events"),
        rounds=FEW,
    ),
)
