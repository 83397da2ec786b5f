"""Day by day or from scratch: how far does a model fall behind that goes on from yesterday's?

    python benchmarks/daily.py --work FOLDER [--days 24] [--rows 20000]

A seeded log in which tastes drift, and users and items come every day, most of them rare. After a week's model, the
rows of each day, or of the last few days, are trained once on top of the model of the day before (`--init-from`). On
some days a model is also trained from scratch on all rows until then. All are measured on the day after, beside the
week's model that nobody updates and the probabilities that the clicks were drawn with.

Seconds are those of the processor for one training, without the start of Python; the commands run in one process.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.metrics import roc_auc_score

import rechub_cli
from rechub_cli.cli.environment import settle_environment

settle_environment()  # as the command does, before torch is imported

FIRST = date(2026, 1, 1)
BASE = 7  # days of the first model
SPEC = """\
data: {{train: "log/day={{date}}", test: "log/day={{date+1}}"}}
embed_dim: 8
features:
  user_id: {{type: sparse, min_count: 2, id_dropout: 0.02}}
  item_id: {{type: sparse, min_count: 2, id_dropout: 0.02}}
  category: {{type: sparse}}
  hour: {{type: sparse}}
  price: {{type: dense}}
labels:
  click: {{type: classification}}
model: {{name: deepfm, params: {{hidden_dims: [64, 32], dropout: 0.0}}}}
trainer:
  n_epoch: 1
  batch_size: 256
  optimizer_params: {{lr: 1e-3}}
  embedding_optimizer: {{name: lazy_adam, lr: 8e-3}}
  metrics: [auc, logloss]
  device: cpu
"""


def best_possible(rows: Path) -> float:
    """The AUC of the very probabilities that the clicks were drawn with."""
    table = pq.read_table(rows)
    return float(roc_auc_score(table["click"].to_numpy(), table["truth"].to_numpy()))


class World:
    """Users and items with tastes that drift; the newest come last, and the oldest items fade."""

    def __init__(self, seed: int = 7) -> None:
        self.random = random = np.random.default_rng(seed)
        self.users, self.items, self.dim = 1500, 500, 4
        most_users, most_items = self.users + 40 * 100, self.items + 20 * 100
        self.user_taste = random.normal(0, 1, (most_users, self.dim))
        self.user_bias = random.normal(0, 0.7, most_users)
        self.category = random.integers(0, 12, most_items)
        self.category_taste = random.normal(0, 0.8, (12, self.dim))
        self.item_taste = self.category_taste[self.category] + random.normal(0, 0.5, (most_items, self.dim))
        self.item_bias = random.normal(-1.2, 0.9, most_items)
        self.price = random.lognormal(2, 0.8, most_items)
        self.by_hour = random.normal(0, 0.3, (12, 24))
        self.user_weight = random.permutation(np.arange(1, most_users + 1) ** -0.9)
        self.item_weight = random.permutation(np.arange(1, most_items + 1) ** -0.8)
        self.born = np.concatenate([-random.integers(0, 30, self.items), np.repeat(np.arange(100), 20)])

    def day(self, number: int, rows: int) -> pa.Table:
        random, users, items = self.random, self.users + 40 * number, self.items + 20 * number
        weight = self.user_weight[:users] * np.where(np.arange(users) >= users - 200, 4.0, 1.0)  # new ones are busy
        user = random.choice(users, rows, p=weight / weight.sum())
        weight = self.item_weight[:items] * np.exp((self.born[:items] - number) / 20)
        item = random.choice(items, rows, p=weight / weight.sum())
        hour = random.integers(0, 24, rows)
        logit = (self.user_taste[user] * self.item_taste[item]).sum(1) * 0.6
        logit += self.user_bias[user] + self.item_bias[item] + self.by_hour[self.category[item], hour]
        click = random.random(rows) < 1 / (1 + np.exp(-logit))
        self.user_taste += random.normal(0, 0.06, self.user_taste.shape)
        self.item_bias += random.normal(0, 0.05, self.item_bias.shape)
        self.by_hour += random.normal(0, 0.03, self.by_hour.shape)
        return pa.table(
            {
                "user_id": [f"u{n}" for n in user],
                "item_id": item,
                "category": self.category[item],
                "hour": hour,
                "price": self.price[item] * np.exp(random.normal(0, 0.05, rows)),
                "click": click.astype(np.int8),
                "truth": logit,
            }
        )


def day(number: int) -> str:
    return str(FIRST + timedelta(days=number))


def write_log(folder: Path, days: int, rows: int) -> None:
    world = World()
    for number in range(days):
        part = folder / f"day={day(number)}"
        part.mkdir(parents=True, exist_ok=True)
        pq.write_table(world.day(number, rows), part / "part.parquet")


def rechub(*arguments: object) -> float:
    """Processor seconds of one command, in this process."""
    from rechub_cli.cli import app

    sys.argv, started = ["rechub", *map(str, arguments), "-qq"], time.process_time()
    if code := app.run():
        raise SystemExit(f"rechub {' '.join(map(str, arguments))}: exit {code}")
    return time.process_time() - started


def auc_of(run: Path, rows: Path) -> float:
    table = pq.read_table(rows)
    return float(roc_auc_score(table["click"].to_numpy(), rechub_cli.load(run).predict(table)))


def train(work: Path, name: str, number: int, days: int, *arguments: object) -> tuple[Path, float, float]:
    """A run on the ``days`` up to a day, its AUC on the day after, and seconds."""
    run, rows = work / "runs" / name, f"{work}/log/day={{date-{days - 1}..date}}"
    shutil.rmtree(run, ignore_errors=True)
    seconds = rechub("train-ctr", work / "spec.yaml", "-o", run, "--date", day(number), "--train", rows, *arguments)
    return run, json.loads((run / "run.json").read_text())["test"]["auc"], seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--days", type=int, default=24, help="daily increments")
    parser.add_argument("--rows", type=int, default=20_000, help="rows a day")
    parser.add_argument("--windows", type=int, nargs="+", default=[1, 3], help="days that an increment trains on")
    parser.add_argument(
        "--epochs", type=int, nargs="+", default=[2], help="of training from scratch; of several the best counts"
    )
    parser.add_argument("--every", type=int, default=8, help="days between two trainings from scratch")
    options = parser.parse_args()
    work, days = options.work, options.days
    work.mkdir(parents=True, exist_ok=True)
    write_log(work / "log", BASE + days + 1, options.rows)
    (work / "spec.yaml").write_text(SPEC.format())
    rechub("version")  # import everything, which is nobody's time

    def from_scratch(number: int) -> tuple[Path, float, float]:
        """On all days so far: the best number of epochs, as the day after tells."""
        runs = [train(work, f"scratch-{n}", number, number + 1, "--epochs", n) for n in options.epochs]
        return max(runs, key=lambda found: found[1])

    base, auc, seconds = from_scratch(BASE - 1)
    base = base.rename(work / "runs" / "base")
    print(f"first model: {BASE} days, AUC {auc:.4f} on the day after, {seconds:.1f} s")
    latest = dict.fromkeys(options.windows, base)
    heads = [f"{n} day{'s' * (n > 1)}" for n in options.windows]
    columns = ["day", "possible", "stale", *heads, "from scratch", *(f"{head}, s" for head in heads), "from scratch, s"]
    print(f"\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}", flush=True)
    for number in range(BASE, BASE + days):
        done = number - BASE + 1
        grown = {}
        for window, run in latest.items():
            grown[window] = train(work, f"by-{window}-{number}", number, window, "--init-from", run)
            latest[window] = grown[window][0]
            if run != base:
                shutil.rmtree(run)
        if done not in (1, days) and done % options.every:
            continue
        again = from_scratch(number)
        tests = work / "log" / f"day={day(number + 1)}" / "part.parquet"
        found = [best_possible(tests), auc_of(base, tests), *(auc for _, auc, _ in grown.values()), again[1]]
        times = [*(seconds for *_, seconds in grown.values()), again[2]]
        cells = [str(done), *(f"{auc:.4f}" for auc in found), *(f"{seconds:.1f}" for seconds in times)]
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
