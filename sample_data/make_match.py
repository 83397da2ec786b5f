"""Make the sample log of a bookshop: who bought what, with the best possible Recall@10 known.

Each purchase is drawn from a probability that this script computes for every book, from the buyer's taste and the book
bought before. So no model can find, on average, more purchases among its first ten books than these probabilities do.
The script prints their Recall@10, and that of the books that sell best.

Planted are a taste (genres that a reader likes, partly told by city and age) and an order (the next volume of the
series that was begun). Popularity sees neither; who has read what tells the taste; only the last purchase tells the
next volume. Nobody buys a book twice.

    python sample_data/make_match.py        # writes sample_data/match/{train,valid,test,items}.parquet
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

SEED = 2026
READERS, SERIES, VOLUMES = 2_500, 80, 5
DAYS = {"train": 24, "valid": 3, "test": 3}  # one after the other
PURCHASES = (10, 38)  # of a reader, fewest and most
START = np.datetime64("2026-03-02T00:00:00", "s")
CITIES = ["Cairo", "Denver", "Hanoi", "Lima", "Oslo"]
AGES = ["under 25", "25 to 44", "45 to 64", "65 and over"]
GENRES = ["crime", "fantasy", "history", "poetry", "romance", "science", "travel", "western"]


def make(seed: int = SEED) -> tuple[pa.Table, pa.Table, np.ndarray]:
    """The log in time order, the books, and the true probability of every book for each row of the log."""
    rng = np.random.default_rng(seed)
    books = SERIES * VOLUMES
    series, volume = np.divmod(np.arange(books), VOLUMES)
    genre = rng.integers(len(GENRES), size=SERIES)[series]
    price = np.round(np.exp(rng.normal(2.5, 0.4, books)), 2)
    appeal = rng.normal(0, 0.5, SERIES)[series] + rng.normal(0, 0.3, books) - 0.3 * volume

    city, age = rng.integers(len(CITIES), size=READERS), rng.integers(len(AGES), size=READERS)
    told = rng.normal(0, 1, (len(CITIES), len(GENRES)))[city] + rng.normal(0, 1, (len(AGES), len(GENRES)))[age]
    taste = 1.0 * told + rng.normal(0, 1.5, (READERS, len(GENRES)))

    fixed = appeal + taste[:, genre]
    counts = rng.integers(PURCHASES[0], PURCHASES[1] + 1, size=READERS)
    owned = np.zeros((READERS, books), bool)
    last = np.full(READERS, -1)
    found: list[tuple[np.ndarray, ...]] = []
    for turn in range(PURCHASES[1]):  # all readers' first purchase, then their second, ...
        readers = np.flatnonzero(counts > turn)
        logit = fixed[readers]
        before = last[readers]
        goes_on = np.flatnonzero((before >= 0) & (before % VOLUMES < VOLUMES - 1))
        logit[goes_on, before[goes_on] + 1] += 5.5
        weight = np.where(owned[readers], 0, np.exp(logit))
        probability = (weight / weight.sum(1, keepdims=True)).astype(np.float32)
        bought = (weight.cumsum(1) > rng.random((len(readers), 1)) * weight.sum(1, keepdims=True)).argmax(1)
        owned[readers, bought], last[readers] = True, bought
        found.append((readers, bought, np.full(len(readers), turn), probability))
    reader, book, turn, probability = (np.concatenate(parts) for parts in zip(*found, strict=True))

    seconds = sum(DAYS.values()) * 86_400
    moments = rng.integers(seconds, size=(READERS, PURCHASES[1]))
    moments[np.arange(PURCHASES[1]) >= counts[:, None]] = 2 * seconds
    moments = np.sort(moments, axis=1) + np.arange(PURCHASES[1])  # no two at one time
    time = moments[reader, turn]
    order = np.argsort(time, kind="stable")
    reader, book, time, probability = reader[order], book[order], time[order], probability[order]

    names = np.array([f"b{number:03d}" for number in range(books)])
    log = pa.table(
        {
            "ts": pa.array(START + time.astype("timedelta64[s]")),
            "user_id": pa.array([f"u{number:04d}" for number in reader]),
            "city": pa.array(np.array(CITIES)[city[reader]]),
            "age": pa.array(np.array(AGES)[age[reader]]),
            "item_id": pa.array(names[book]),
        }
    )
    items = pa.table(
        {
            "item_id": pa.array(names),
            "series": pa.array([f"s{number:02d}" for number in series]),
            "volume": pa.array(volume + 1, pa.int32()),
            "genre": pa.array(np.array(GENRES)[genre]),
            "price": pa.array(price),
        }
    )
    return log, items, probability


def recall(log: pa.Table, items: pa.Table, scores: np.ndarray, k: int = 10) -> float:
    """The share of rows whose book is among the k of the highest score; the scores have no ties."""
    place = {name: number for number, name in enumerate(items["item_id"].to_pylist())}
    bought = np.array([place[name] for name in log["item_id"].to_pylist()])
    own = np.take_along_axis(scores, bought[:, None], axis=1)
    return float(((scores > own).sum(1) < k).mean())


def popularity(log: pa.Table, items: pa.Table) -> np.ndarray:
    """How often each book was bought; of equal numbers the first book is ahead."""
    counts = dict(zip(*(part.to_pylist() for part in log["item_id"].value_counts().flatten()), strict=True))
    sold = np.array([counts.get(name, 0) for name in items["item_id"].to_pylist()])
    return sold - np.arange(len(sold)) / len(sold)


def parts(log: pa.Table, probability: np.ndarray) -> dict[str, tuple[pa.Table, np.ndarray]]:
    """The log cut at midnight into train, valid and test."""
    days = (log["ts"].to_numpy() - START).astype("timedelta64[D]").astype(int)
    cut, first = {}, 0
    for name, length in DAYS.items():
        low, high = np.searchsorted(days, [first, first + length])
        cut[name] = (log.slice(low, high - low), probability[low:high])
        first += length
    return cut


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "match", help="folder to write into")
    parser.add_argument("--seed", type=int, default=SEED)
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    log, items, probability = make(arguments.seed)
    pq.write_table(items, arguments.output / "items.parquet", compression="zstd", compression_level=19)
    cut = parts(log, probability)
    sold = popularity(cut["train"][0], items)
    for name, (table, true) in cut.items():
        pq.write_table(table, arguments.output / f"{name}.parquet", compression="zstd", compression_level=19)
        best, popular = recall(table, items, true), recall(table, items, np.broadcast_to(sold, true.shape))
        print(f"{name:5}  {len(table):6,} rows  best Recall@10 {best:.4f}  of the best-selling books {popular:.4f}")


if __name__ == "__main__":
    main()
