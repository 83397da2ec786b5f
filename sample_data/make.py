"""Make the sample data: a click log in which the best possible AUC is known.

A shop shows items to its users. Each click is drawn from a probability that this script computes from the row itself,
so no model can rank better, on average, than that probability does. The script prints its AUC.

Most of what drives a click is planted in pairs of columns that say nothing one by one: the item's category x the
categories of the history, city x category, price x age. Beside them stand plain effects: of the item, the device and
the hour. A linear model finds only the plain ones; a model of interactions finds them all.

    python sample_data/make.py        # writes sample_data/ctr/{train,valid,test}.parquet and test.csv
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

SEED = 2026
PARTS = {"train": 100_000, "valid": 8_000, "test": 8_000}  # rows, one after the other in time
USERS, ITEMS, HISTORY = 200, 100, 8
START = np.datetime64("2026-03-02T00:00:00", "s")
DAYS = 19
CITIES = ["Cairo", "Denver", "Hanoi", "Lima", "Oslo"]
CATEGORIES = ["books", "games", "garden", "kitchen", "music", "pets"]
DEVICES = ["phone", "tablet", "desktop"]


def centred(values: np.ndarray) -> np.ndarray:
    """Take the mean of every row and every column away, so that neither has an effect alone."""
    return values - values.mean(0) - values.mean(1, keepdims=True) + values.mean()


def make(seed: int = SEED) -> tuple[pa.Table, np.ndarray]:
    """The whole log in time order, and the true click probability of each of its rows."""
    rng = np.random.default_rng(seed)
    n = sum(PARTS.values())

    user_city = rng.integers(len(CITIES), size=USERS)
    user_age = np.clip(rng.normal(38, 12, USERS), 16, 80).astype(int)
    user_taste = rng.dirichlet(np.full(len(CATEGORIES), 0.4), USERS)  # a few categories each

    item_category = rng.integers(len(CATEGORIES), size=ITEMS)
    item_price = np.round(np.exp(rng.normal(3, 0.9, ITEMS)), 2)
    item_quality = rng.normal(0, 0.3, ITEMS)
    popularity = rng.zipf(1.6, ITEMS).clip(max=20) + 4.0
    of_category = [np.flatnonzero(item_category == c) for c in range(len(CATEGORIES))]

    user = rng.integers(USERS, size=n)
    item = rng.choice(ITEMS, size=n, p=popularity / popularity.sum())
    device = rng.choice(3, size=n, p=[0.6, 0.15, 0.25])
    time = START + np.sort(rng.integers(DAYS * 86_400, size=n)).astype("timedelta64[s]")
    hour = time.astype("datetime64[h]").astype(int) % 24
    age_known, price_known = rng.random(USERS) > 0.08, rng.random(ITEMS) > 0.05

    place = centred(rng.normal(0, 1, (len(CITIES), len(CATEGORIES))))
    z_age = np.where(age_known, np.clip((user_age - 38) / 12, -1.5, 1.5), 0.0)
    z_price = np.where(price_known, np.clip((np.log(item_price) - 3) / 0.9, -1.5, 1.5), 0.0)
    fixed = (
        -0.6
        + item_quality[item]
        + 1.2 * place[user_city[user], item_category[item]]
        + 0.3 * (device == 0)
        + 0.4 * np.sin(2 * np.pi * (hour - 14) / 24)
        + 0.7 * z_age[user] * z_price[item]
    )

    # The history changes with every click, so these rows are made one by one.
    past: list[list[int]] = []
    for taste in user_taste:
        liked = rng.choice(len(CATEGORIES), size=rng.integers(HISTORY + 1), p=taste)
        past.append([int(rng.choice(of_category[c])) for c in liked])
    logit, luck = np.empty(n), rng.random(n)
    history: list[list[int]] = []
    for row in range(n):
        seen = past[user[row]]
        same = sum(item_category[old] == item_category[item[row]] for old in seen)
        logit[row] = fixed[row] + 1.2 * min(same, 3) - 1.5
        history.append(list(seen))
        if luck[row] < 1 / (1 + np.exp(-logit[row])):
            past[user[row]] = [*seen, int(item[row])][-HISTORY:]
    probability = 1 / (1 + np.exp(-logit))

    category = np.array(CATEGORIES)[item_category]
    names = np.array([f"i{number:03d}" for number in range(ITEMS)])
    log = pa.table(
        {
            "ts": pa.array(time),
            "user_id": pa.array([f"u{number:03d}" for number in user]),
            "age": pa.array(user_age[user], pa.int32(), mask=~age_known[user]),
            "city": pa.array(np.array(CITIES)[user_city[user]]),
            "item_id": pa.array(names[item]),
            "category": pa.array(category[item]),
            "price": pa.array(item_price[item], mask=~price_known[item]),
            "device": pa.array(np.array(DEVICES)[device]),
            "hist_items": pa.array(["|".join(names[old]) or None for old in history]),
            "hist_categories": pa.array(["|".join(category[old]) or None for old in history]),
            "click": pa.array((luck < probability).astype(np.int8)),
        }
    )
    return log, probability


def auc(labels: np.ndarray, scores: np.ndarray) -> float:
    """The share of (click, no click) pairs that the scores put in the right order; the scores have no ties."""
    ranks = np.empty(len(scores))
    ranks[np.argsort(scores)] = np.arange(1, len(scores) + 1)
    positives = labels.sum()
    return float((ranks[labels == 1].sum() - positives * (positives + 1) / 2) / (positives * (len(labels) - positives)))


def parts(log: pa.Table, probability: np.ndarray) -> dict[str, tuple[pa.Table, np.ndarray]]:
    """The log cut by time into train, valid and test."""
    cut, first = {}, 0
    for name, rows in PARTS.items():
        cut[name] = (log.slice(first, rows), probability[first : first + rows])
        first += rows
    return cut


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "ctr", help="folder to write into")
    parser.add_argument("--seed", type=int, default=SEED)
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    for name, (table, probability) in parts(*make(arguments.seed)).items():
        pq.write_table(table, arguments.output / f"{name}.parquet", compression="zstd", compression_level=19)
        if name == "test":
            pacsv.write_csv(table, arguments.output / "test.csv", pacsv.WriteOptions(quoting_style="none"))
        clicks = table["click"].to_numpy()
        print(
            f"{name:5}  {len(table):6,} rows  click rate {clicks.mean():.3f}  best AUC {auc(clicks, probability):.4f}"
        )


if __name__ == "__main__":
    main()
