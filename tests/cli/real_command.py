"""The real command in a process of its own, and small click data."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

SPEC = """\
data:
  train: train.parquet
  valid: valid.parquet
  test: test.parquet
embed_dim: 4
features:
  user_id: {type: sparse}
  item_id: {type: sparse}
  price: {type: dense}
  hist: {type: sequence, shares: item_id, max_len: 5}
labels:
  click: {type: classification}
group: user_id
model:
  name: deepfm
  params: {hidden_dims: [8], dropout: 0.0}
trainer:
  n_epoch: 2
  batch_size: 50
  optimizer_params: {lr: 3e-2}
  metrics: [auc, gauc, logloss]
  device: cpu
"""


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    code: int
    out: str
    err: str


STEERING = (
    "RECHUB_",
    "COV",
    "PY_COLORS",
    "CI",
    "NO_COLOR",
    "FORCE_COLOR",
    "GITHUB_ACTIONS",
    "TERM",
    "COLUMNS",
    "LINES",
)


def environment(**more: str) -> dict[str, str]:
    """The variables of this process, less those that change what a command shows: a test sets them itself."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(STEERING)}
    return {**kept, "OMP_NUM_THREADS": "1", **more}


def rechub(
    *arguments: str | Path, cwd: Path, input: bytes | None = None, script: str | None = None, **env: str
) -> Ended:
    """Run the real command, or a script about it, in a process of its own."""
    ended = subprocess.run(
        [sys.executable, *(["-m", "rechub_cli"] if script is None else ["-c", script]), *map(str, arguments)],
        cwd=cwd,
        input=b"" if input is None else input,
        capture_output=True,
        env=environment(**env),
        timeout=120,
        check=False,
    )
    return Ended(ended.returncode, ended.stdout.decode(), ended.stderr.decode())


def clicks(n: int, seed: int) -> pa.Table:
    """Users of even numbers click on nine of ten items, the others on one; prices are partly missing."""
    rng = np.random.default_rng(seed)
    user, item = rng.integers(0, 20, n), rng.integers(0, 30, n)
    click = rng.random(n) < np.where(user % 2 == 0, 0.9, 0.1)
    price = rng.lognormal(size=n)
    hist = ["|".join(map(str, rng.integers(0, 30, rng.integers(0, 7)))) for _ in range(n)]
    return pa.table(
        {
            "user_id": [f"u{number:02d}" for number in user],
            "item_id": item,
            "price": pa.array(price, mask=rng.random(n) < 0.1),
            "hist": hist,
            "click": click.astype(np.int64),
        }
    )


def write_data(folder: Path) -> Path:
    for seed, (name, n) in enumerate({"train": 2000, "valid": 500, "test": 500}.items()):
        pq.write_table(clicks(n, seed), folder / f"{name}.parquet")
    pacsv.write_csv(clicks(500, 2), folder / "test.csv")
    (folder / "spec.yaml").write_text(SPEC)
    return folder
