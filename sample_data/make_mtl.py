"""Make the sample data of several labels: a funnel from impression to click to purchase, with known best scores.

A shop shows items to its users. Some are clicked; of those some are bought; and whoever clicks stays for some minutes.
Each outcome is drawn from a probability, or a mean, that this script computes from the row itself, so no model can do
better, on average, than those. The script prints what they reach: the AUC of clicks, of purchases among all
impressions, of purchases among the clicks, and the root mean squared error of the minutes.

The outcomes share a taste (city x category) that no column shows alone, and beside it each has its own: cheap items are
clicked and dear ones bought, the young stay for games. Purchases are rare, so that the clicks have much to teach.

    python sample_data/make_mtl.py        # writes sample_data/mtl/{train,valid,test}.parquet
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from make import CATEGORIES, CITIES, DEVICES, auc, centred

SEED = 2027
PARTS = {"train": 100_000, "valid": 15_000, "test": 25_000}  # rows, one after the other in time
USERS, ITEMS = 200, 80
START = np.datetime64("2026-04-06T00:00:00", "s")
DAYS = 21
NOISE = 1.5  # minutes


def logistic(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-values))


def make(seed: int = SEED) -> tuple[pa.Table, dict[str, np.ndarray]]:
    """The whole log in time order; and of each row its true probabilities of a click, of a purchase after a click,
    and its mean minutes."""
    rng = np.random.default_rng(seed)
    n = sum(PARTS.values())

    user_city = rng.integers(len(CITIES), size=USERS)
    user_age = np.clip(rng.normal(38, 12, USERS), 16, 80).astype(int)
    user_thrift = rng.normal(0, 0.4, USERS)
    item_category = rng.integers(len(CATEGORIES), size=ITEMS)
    item_price = np.round(np.exp(rng.normal(3, 0.9, ITEMS)), 2)
    item_charm, item_worth = rng.normal(0, 0.4, ITEMS), rng.normal(0, 0.4, ITEMS)
    popularity = rng.zipf(1.6, ITEMS).clip(max=20) + 4.0

    user = rng.integers(USERS, size=n)
    item = rng.choice(ITEMS, size=n, p=popularity / popularity.sum())
    device = rng.choice(3, size=n, p=[0.6, 0.15, 0.25])
    time = START + np.sort(rng.integers(DAYS * 86_400, size=n)).astype("timedelta64[s]")
    hour = time.astype("datetime64[h]").astype(int) % 24

    taste = centred(rng.normal(0, 1, (len(CITIES), len(CATEGORIES))))[user_city[user], item_category[item]]
    mood = centred(rng.normal(0, 1, (3, len(CATEGORIES))))[device, item_category[item]]
    z_age = np.clip((user_age[user] - 38) / 12, -1.5, 1.5)
    z_price = np.clip((np.log(item_price[item]) - 3) / 0.9, -1.5, 1.5)
    click = logistic(-1.6 + item_charm[item] + 1.2 * taste - 0.6 * z_price + 0.4 * np.sin(2 * np.pi * (hour - 14) / 24))
    buy = logistic(
        -1.7 + item_worth[item] - user_thrift[user] + 1.2 * taste + 0.8 * z_price + 0.6 * mood + 0.5 * z_age * z_price
    )
    minutes = 6 + 1.2 * taste + 0.8 * mood + 0.6 * item_charm[item] - 0.9 * z_age * (item_category[item] == 1)

    clicked = rng.random(n) < click
    bought = clicked & (rng.random(n) < buy)
    stayed = np.round(np.maximum(minutes + rng.normal(0, NOISE, n), 0.1), 2)
    log = pa.table(
        {
            "ts": pa.array(time),
            "user_id": pa.array([f"u{number:03d}" for number in user]),
            "age": pa.array(user_age[user], pa.int32()),
            "city": pa.array(np.array(CITIES)[user_city[user]]),
            "item_id": pa.array([f"i{number:03d}" for number in item]),
            "category": pa.array(np.array(CATEGORIES)[item_category[item]]),
            "price": pa.array(item_price[item]),
            "device": pa.array(np.array(DEVICES)[device]),
            "click": pa.array(clicked.astype(np.int8)),
            "buy": pa.array(bought.astype(np.int8)),
            "minutes": pa.array(stayed, mask=~clicked),  # unknown where nobody clicked
        }
    )
    return log, {"click": click, "buy": buy, "minutes": minutes}


def parts(log: pa.Table, truth: dict[str, np.ndarray]) -> dict[str, tuple[pa.Table, dict[str, np.ndarray]]]:
    """The log cut by time into train, valid and test."""
    cut, first = {}, 0
    for name, rows in PARTS.items():
        here = slice(first, first + rows)
        cut[name] = (log.slice(first, rows), {label: values[here] for label, values in truth.items()})
        first += rows
    return cut


def best(table: pa.Table, truth: dict[str, np.ndarray]) -> dict[str, float]:
    """What the true probabilities and means reach on these rows."""
    click, buy = (table[name].to_numpy() for name in ("click", "buy"))
    clicked = click == 1
    stayed = table["minutes"].to_numpy(zero_copy_only=False)[clicked]
    return {
        "auc_click": auc(click, truth["click"]),
        "auc_buy": auc(buy, truth["click"] * truth["buy"]),
        "auc_cvr": auc(buy[clicked], truth["buy"][clicked]),
        "rmse_minutes": float(np.sqrt(np.mean((stayed - truth["minutes"][clicked]) ** 2))),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "mtl", help="folder to write into")
    parser.add_argument("--seed", type=int, default=SEED)
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    for name, (table, truth) in parts(*make(arguments.seed)).items():
        pq.write_table(table, arguments.output / f"{name}.parquet", compression="zstd", compression_level=19)
        rates = " ".join(f"{label} {np.mean(table[label].to_numpy()):.3f}" for label in ("click", "buy"))
        scores = "  ".join(f"{score} {value:.4f}" for score, value in best(table, truth).items())
        print(f"{name:5}  {len(table):7,} rows  {rates}  best {scores}")


if __name__ == "__main__":
    main()
