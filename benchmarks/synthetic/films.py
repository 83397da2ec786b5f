"""MovieLens-like: 6,040 users who watch a million of 3,706 films, often one after its neighbours.

``train.parquet`` holds one event a row in order; each user's last event is in ``test.parquet``.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from synthetic.draws import Names, zipf

USERS, ITEMS, MEAN_LENGTH = 6_040, 3_706, 165
FOLLOWS = 0.5  # probability that a film is one of the ten that come after the one before


def make(folder: Path, rng: np.random.Generator, scale: float) -> None:
    users = max(100, int(USERS * scale))
    lengths = np.clip(rng.lognormal(np.log(MEAN_LENGTH) - 0.4, 0.9, users), 20, 2000).astype(int)
    user = np.repeat(np.arange(users), lengths)
    pos = np.arange(len(user)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    item = zipf(rng, len(user), ITEMS)
    follows, step = rng.random(len(user)) < FOLLOWS, rng.integers(1, 11, len(user))
    for i in range(1, len(user)):  # in order: a film follows what was itself drawn just before
        if follows[i] and pos[i]:
            item[i] = (item[i - 1] + step[i]) % ITEMS
    last = pos == np.repeat(lengths, lengths) - 1
    items_named, users_named = Names(rng, ITEMS), Names(rng, users)
    for kind, columns in (
        ("raw", {"user_id": users_named.of(user), "item_id": items_named.of(item), "pos": pos}),
        ("ids", {"user_id": user + 1, "item_id": item + 1, "pos": pos}),
    ):
        target = folder / kind
        target.mkdir(parents=True, exist_ok=True)
        table = pa.table(columns)
        pq.write_table(table.filter(pa.array(~last)), target / "train.parquet")
        pq.write_table(table.filter(pa.array(last)), target / "test.parquet")
    meta = {"labels": [], "sparse": {"user_id": users + 1, "item_id": ITEMS + 1}, "dense": [], "sequences": {}}
    (folder / "ids" / "meta.json").write_text(json.dumps(meta))
