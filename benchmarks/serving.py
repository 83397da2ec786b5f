"""How fast vectors are searched and written.

    python benchmarks/serving.py search
    python benchmarks/serving.py embed --work FOLDER [--items 1000000]

`search` finds the exact top 100 of 54,542 items of 64 numbers for 2,048 users, beside the bare matrix product with
torch's top-k, in alternation. `embed` exports a table of items, Parquet to Parquet, through a tower of [128, 64] (the
start of the command, which does not grow with the items, is told apart).
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from ours import rechub

from rechub_cli.cli.threads import settle_threads

settle_threads()  # as the command does, before torch is imported
import torch  # noqa: E402

from rechub_cli.nn.search import top_k  # noqa: E402

SPEC = """\
data: {train: log.parquet, items: items.parquet}
embed_dim: 16
features:
  user_id: {type: sparse}
  item_id: {type: sparse}
  genre: {type: sparse}
  brand: {type: sparse}
  price: {type: dense}
user: user_id
item: item_id
model: {name: dssm, params: {user_hidden_dims: [128, 64], item_hidden_dims: [128, 64]}}
trainer: {n_epoch: 1, batch_size: 4096}
"""


def timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def search(rounds: int) -> None:
    users, items = torch.randn(2048, 64), torch.randn(54_542, 64)
    seconds: dict[str, list[float]] = {"bare": [], "ours": []}
    for _ in range(rounds + 1):  # the first is for warming up
        seconds["bare"].append(timed(lambda: torch.topk(users @ items.T, 100)))
        seconds["ours"].append(timed(lambda: top_k(users, items, 100)))
    for name, values in seconds.items():
        print(f"{name}  median {statistics.median(values[1:]):.3f} s  from {min(values[1:]):.3f}")
    ratios = [ours / bare for ours, bare in list(zip(seconds["ours"], seconds["bare"], strict=True))[1:]]
    print(f"ours / bare {statistics.median(ratios):.2f}")


def embed(work: Path, n_items: int, rounds: int) -> None:
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory(dir=work) as name:
        folder = Path(name)
        items = {
            "item_id": np.arange(n_items),
            "genre": rng.integers(0, 500, n_items),
            "brand": rng.integers(0, 20_000, n_items),
            "price": rng.random(n_items),
        }
        pq.write_table(pa.table(items), folder / "items.parquet")
        pq.write_table(pa.table(items).slice(0, 1), folder / "one.parquet")
        log = {"user_id": rng.integers(0, 5000, 200_000), "item_id": rng.integers(0, n_items, 200_000)}
        pq.write_table(pa.table(log), folder / "log.parquet")
        (folder / "spec.yaml").write_text(SPEC)
        rechub("train-match", folder / "spec.yaml", "-o", folder / "run")
        for _ in range(rounds):
            seconds = {}
            for data in ("one", "items"):
                target = folder / "vectors.parquet"
                arguments = ("embed", folder / "run", "--mode", "item", "-d", folder / f"{data}.parquet", "-o", target)
                _, seconds[data] = rechub(*arguments, "--overwrite")
            net = seconds["items"] - seconds["one"]
            print(f"{n_items / net:,.0f} items/s, after {seconds['one']:.1f} s to start", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["search", "embed"])
    parser.add_argument("--work", type=Path, default=Path())
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    a = parser.parse_args()
    if a.what == "search":
        search(a.rounds)
    else:
        embed(a.work, a.items, a.rounds)


if __name__ == "__main__":
    main()
