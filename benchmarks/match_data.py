"""The retrieval data sets as a log would hold them: one event a row, items and users in tables of their own.

    python benchmarks/match_data.py OUT        # reads the folder that RECHUB_DATA names

Writes OUT/ml-1m (log, items, users), OUT/ml-1m-sasrec, OUT/beauty and OUT/yoochoose (train, valid or test, items).
Nothing is filtered, renumbered or encoded.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq


def ml_1m(data: Path, out: Path) -> None:
    """All ratings; the 3,706 rated movies with their genres; the users."""
    ratings = pq.read_table(data / "ml-1m/ratings.parquet", columns=["userId", "movieId", "rating", "seq_pos"])
    write(ratings, out / "ml-1m/log.parquet")
    movies = pq.read_table(data / "ml-1m/movies.parquet")
    rated = movies.filter(pc.is_in(movies["MovieID"], pc.unique(ratings["movieId"]).cast(pa.int64())))
    genres = pc.split_pattern(rated["Genres"], "|")
    write(pa.table({"movieId": rated["MovieID"].cast(pa.int32()), "genres": genres}), out / "ml-1m/items.parquet")
    users = pq.read_table(data / "ml-1m/users.parquet")
    names = ["userId", "gender", "age", "occupation", "zip"]
    write(users.rename_columns(names), out / "ml-1m/users.parquet")


def leave_one_out(table: pa.Table, out: Path) -> None:
    """A table whose ``split`` column says train, valid or test; ``pos`` orders a user's events."""
    for part in ("train", "valid", "test"):
        write(table.filter(pc.equal(table["split"], part)).drop_columns("split"), out / f"{part}.parquet")


def ml_1m_sasrec(data: Path, out: Path) -> None:
    """SASRec's 3,416 items, each user's events numbered."""
    table = pq.read_table(data / "ml-1m/split_sasrec_loo.parquet", columns=["user_id", "item_id", "split"])
    leave_one_out(table.append_column("pos", pa.array(places(table["user_id"]))), out / "ml-1m-sasrec")


def beauty(data: Path, out: Path) -> None:
    """The S3-Rec paper's Beauty."""
    leave_one_out(pq.read_table(data / "amazon-beauty-s3rec/Beauty.parquet"), out / "beauty")


def yoochoose(data: Path, out: Path) -> None:
    """Sessions as events. ``query`` is 0 for a session's first click, which nothing comes before."""
    train = pq.read_table(data / "yoochoose1_64/train_sequences.parquet")
    write(events(train["session_id"].to_numpy(), train["items"].combine_chunks()), out / "yoochoose/train.parquet")
    test = pq.read_table(data / "yoochoose1_64/test.parquet")
    prefixes, targets = test["prefix"].combine_chunks(), test["target"].to_numpy()
    lengths = pc.list_value_length(prefixes).to_numpy()
    whole = np.flatnonzero(np.append(True, lengths[1:] != lengths[:-1] - 1))  # the longest prefix of each session
    kept = prefixes.take(pa.array(whole))
    flat, sizes = kept.flatten().to_numpy(), lengths[whole]
    ends = np.cumsum(sizes)
    sessions = pa.ListArray.from_arrays(
        np.append(0, np.cumsum(sizes + 1)).astype(np.int32), pa.array(np.insert(flat, ends, targets[whole]))
    )
    table = events(10**9 + np.arange(len(whole)), sessions)
    assert int(pc.sum(table["query"]).as_py()) == len(targets)
    write(table, out / "yoochoose/test.parquet")


def events(sessions: np.ndarray, items: pa.ListArray) -> pa.Table:
    ids = np.repeat(sessions, pc.list_value_length(items).to_numpy())
    pos = places(ids)
    return pa.table({"session_id": ids, "item_id": items.flatten(), "pos": pos, "query": (pos > 0).astype(np.int8)})


def places(groups: np.ndarray | pa.ChunkedArray) -> np.ndarray:
    """0, 1, 2… within each run of equal values."""
    groups = np.asarray(groups)
    starts = np.flatnonzero(np.append(True, groups[1:] != groups[:-1]))
    return (np.arange(len(groups)) - np.repeat(starts, np.diff(np.append(starts, len(groups))))).astype(np.int32)


def write(table: pa.Table, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, file)
    print(f"{file}  {table.num_rows:,} rows  {', '.join(table.column_names)}")


if __name__ == "__main__":
    source, target = Path(os.environ.get("RECHUB_DATA", "../shared/data")).resolve(), Path(sys.argv[1])
    for make in (ml_1m, ml_1m_sasrec, beauty, yoochoose):
        make(source, target)
