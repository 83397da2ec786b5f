"""What the peers' scripts share: encoded tables, the preprocessing a user writes by hand, and how results are told."""

import json
import time
from pathlib import Path

import numpy as np
import pandas as pd


def read(folder: str, split: str, rows: int | None = None) -> pd.DataFrame:
    frame = pd.read_parquet(Path(folder) / f"{split}.parquet")
    return frame if rows is None else frame.head(rows)


def meta(folder: str) -> dict:
    """``labels``, ``sparse`` (column -> largest id plus one), ``dense``, ``sequences`` (column -> whose ids)."""
    return json.loads((Path(folder) / "meta.json").read_text())


def columns_of(info: dict) -> list[str]:
    return [*info["sparse"], *info["sequences"], *info["dense"]]


def array(frame: pd.DataFrame, column: str, info: dict) -> np.ndarray:
    """A column as these libraries want it: int64 (n,), float32 (n,), or int64 (n, length) of a sequence."""
    if column in info["sequences"]:
        return np.stack(frame[column].to_numpy()).astype(np.int64)
    return frame[column].to_numpy(np.int64 if column in info["sparse"] else np.float32)


def arrays(frame: pd.DataFrame, info: dict) -> dict[str, np.ndarray]:
    return {column: array(frame, column, info) for column in columns_of(info)}


def encode(
    frames: dict[str, pd.DataFrame], sparse: list[str], dense: list[str], labels: list[str], folder: str
) -> None:
    """Integer ids from the training rows' values (0: unseen or missing), numbers log-scaled and standardised."""
    sizes = {}
    out = {name: {label: frame[label].to_numpy(np.float32) for label in labels} for name, frame in frames.items()}
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
    (target / "meta.json").write_text(json.dumps({"labels": labels, "sparse": sizes, "dense": dense, "sequences": {}}))


def write_scores(scores, file: str) -> None:
    pd.DataFrame({"score": np.asarray(scores, np.float32).ravel()}).to_parquet(file)


def report(**values: object) -> None:
    print("RESULT " + json.dumps(values), flush=True)


def report_predict(rows: int, seconds: float, total: float) -> None:
    """Seconds from reading to the written file, and from the start of the process."""
    report(rows=rows, rows_per_s=rows / seconds, rows_per_s_with_start=rows / total)


class Clock:
    """Seconds since the last lap."""

    def __init__(self) -> None:
        self.start = time.perf_counter()

    def lap(self) -> float:
        now = time.perf_counter()
        seconds, self.start = now - self.start, now
        return seconds
