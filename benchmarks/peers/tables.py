"""What the peers' scripts share: encoded tables, and the preprocessing a user of those libraries writes by hand."""

import json
import time
from pathlib import Path

import numpy as np
import pandas as pd


def read(folder: str, split: str) -> pd.DataFrame:
    return pd.read_parquet(Path(folder) / f"{split}.parquet")


def meta(folder: str) -> dict:
    return json.loads((Path(folder) / "meta.json").read_text())


def encode(frames: dict[str, pd.DataFrame], sparse: list[str], dense: list[str], label: str, folder: str) -> None:
    """Integer ids from the training rows' values (0: unseen or missing), numbers log-scaled and standardised."""
    sizes = {}
    out = {name: {label: frame[label].to_numpy(np.float32)} for name, frame in frames.items()}
    for column in sparse:
        values = pd.Index(frames["train"][column].dropna().unique())
        sizes[column] = len(values) + 1
        for name, frame in frames.items():
            out[name][column] = (values.get_indexer(frame[column]) + 1).astype(np.int32)
    for column in dense:
        train = np.log1p(frames["train"][column].clip(lower=0)).astype(float)
        mean, deviation = train.mean(), train.std() or 1.0
        for name, frame in frames.items():
            scaled = (np.log1p(frame[column].clip(lower=0)).astype(float) - mean) / deviation
            out[name][column] = scaled.fillna(0.0).to_numpy(np.float32)
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    for name, columns in out.items():
        pd.DataFrame(columns).to_parquet(target / f"{name}.parquet")
    (target / "meta.json").write_text(json.dumps({"label": label, "sparse": sizes, "dense": dense}))


def report(**values: object) -> None:
    print("RESULT " + json.dumps(values), flush=True)


class Clock:
    """Seconds since the last lap."""

    def __init__(self) -> None:
        self.start = time.perf_counter()

    def lap(self) -> float:
        now = time.perf_counter()
        seconds, self.start = now - self.start, now
        return seconds
