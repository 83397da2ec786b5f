"""Torch-RecHub's own retrieval models under its own trainer, on the events that match_data.py wrote as ml-1m.

Training: every event but a user's last two, its history the 50 before it (films and their first genre, mean-pooled)
and five columns of the user. Test: the last event, ranked among all films by exact inner product, seen films kept.
"""

import argparse
import resource
import tempfile
import time

started = time.perf_counter()
import numpy as np
import pandas as pd
import torch
from tables import Clock, report
from torch_rechub.basic.features import SequenceFeature, SparseFeature
from torch_rechub.models.matching import DSSM, ComirecSA, YoutubeDNN
from torch_rechub.trainers import MatchTrainer
from torch_rechub.utils.data import MatchDataGenerator

parser = argparse.ArgumentParser()
parser.add_argument("folder")
parser.add_argument("--model", choices=["youtube_dnn", "dssm", "comirec_sa"], default="youtube_dnn")
parser.add_argument("--batch", type=int, default=512)
parser.add_argument("--epochs", type=int, default=2)
parser.add_argument("--negatives", type=int, default=255)
parser.add_argument("--temperature", type=float, default=0.05)
parser.add_argument("--dim", type=int, default=32)
parser.add_argument("--seed", type=int, default=2022)
parser.add_argument("--threads", type=int, default=2)
a = parser.parse_args()
torch.manual_seed(a.seed)
rng = np.random.default_rng(a.seed)
np.random.seed(a.seed)
torch.set_num_threads(a.threads)
LENGTH = 50

clock = Clock()
log = pd.read_parquet(f"{a.folder}/log.parquet").sort_values(["userId", "seq_pos"], kind="stable")
items = pd.read_parquet(f"{a.folder}/items.parquet")
users = pd.read_parquet(f"{a.folder}/users.parquet").set_index("userId")
items["genre"] = [genres[0] for genres in items["genres"]]
code = {
    column: {value: i + 1 for i, value in enumerate(sorted(items[column].unique()))} for column in ("movieId", "genre")
}
item = log["movieId"].map(code["movieId"]).to_numpy(np.int64)
genre_of = np.zeros(len(code["movieId"]) + 1, np.int64)
genre_of[items["movieId"].map(code["movieId"])] = items["genre"].map(code["genre"])
user = log["userId"].to_numpy()
starts = np.flatnonzero(np.append(True, user[1:] != user[:-1]))
place = np.arange(len(user)) - np.repeat(starts, np.diff(np.append(starts, len(user))))
left = np.repeat(np.diff(np.append(starts, len(user))), np.diff(np.append(starts, len(user)))) - place  # 1: the last
windows = np.lib.stride_tricks.sliding_window_view(np.concatenate([np.zeros(LENGTH, np.int64), item]), LENGTH)
columns = ["gender", "age", "occupation", "zip"]
profile = {column: users[column].astype("category").cat.codes.loc[np.unique(user)] + 1 for column in columns}


def rows(chosen):
    """Inputs of the chosen events: their users and what those saw before."""
    history = windows[chosen].astype(np.int64)
    outside = np.arange(LENGTH)[None, :] < LENGTH - np.minimum(place[chosen], LENGTH)[:, None]
    history[outside] = 0
    x = {"user_id": user[chosen].astype(np.int64), "hist": history, "hist_genre": genre_of[history]}
    for column in columns:
        x[column] = profile[column].loc[user[chosen]].to_numpy(np.int64)
    return x


train = np.flatnonzero((place > 0) & (left > 2))
test = np.flatnonzero(left == 1)
x = {**rows(train), "item": item[train], "genre": genre_of[item[train]]}
n_items, n_genres = len(code["movieId"]) + 1, len(code["genre"]) + 1
if a.model != "dssm":
    p = np.bincount(item[train], minlength=n_items) ** 0.75
    x["negatives"] = rng.choice(n_items, (len(train), a.negatives), p=p / p.sum()).astype(np.int64)
user_features = [SparseFeature("user_id", int(user.max()) + 1, a.dim)]
user_features += [SparseFeature(column, int(profile[column].max()) + 1, a.dim) for column in columns]
history = [
    SequenceFeature("hist", n_items, a.dim, pooling="mean", shared_with="item", padding_idx=0),
    SequenceFeature("hist_genre", n_genres, a.dim, pooling="mean", shared_with="genre", padding_idx=0),
]
item_id, genre = SparseFeature("item", n_items, a.dim), SparseFeature("genre", n_genres, a.dim)
negatives = [SequenceFeature("negatives", n_items, a.dim, pooling="concat", shared_with="item")]
if a.model == "youtube_dnn":
    model = YoutubeDNN([*user_features, history[0]], [item_id], negatives, {"dims": [128, 64, a.dim]}, a.temperature)
elif a.model == "dssm":
    tower = {"dims": [128, 64, a.dim]}
    model = DSSM([*user_features, *history], [item_id, genre], dict(tower), dict(tower), a.temperature)
else:
    whole = [SequenceFeature("hist", n_items, a.dim, pooling="concat", shared_with="item", padding_idx=0)]
    model = ComirecSA(user_features, whole, [item_id], negatives, a.temperature, interest_num=2)
y = np.zeros(len(train), np.int64)
catalogue = {"item": np.arange(n_items), "genre": genre_of}
loaders = MatchDataGenerator(x, y).generate_dataloader(rows(test), catalogue, a.batch, num_workers=0)
trainer = MatchTrainer(
    model,
    mode=2,
    in_batch_neg=a.model == "dssm",
    optimizer_params={"lr": 1e-3, "weight_decay": 0},
    n_epoch=a.epochs,
    model_path=tempfile.mkdtemp(),
)
prepare = clock.lap()
trainer.fit(loaders[0])
training = clock.lap()
total = time.perf_counter() - started
user_vectors = trainer.inference_embedding(model, "user", loaders[1], trainer.model_path)
item_vectors = trainer.inference_embedding(model, "item", loaders[2], trainer.model_path)
interests = user_vectors if user_vectors.dim() == 3 else user_vectors[:, None]
scores = (interests @ item_vectors.T).max(1).values
scores[:, 0] = -torch.inf
target = torch.from_numpy(item[test])
ranks = (scores >= scores.gather(1, target[:, None])).sum(1)
found = {f"recall@{k}": float((ranks <= k).float().mean()) for k in (10, 50)}
report(
    library="torch-rechub",
    model=a.model,
    batch=a.batch,
    rows=len(train),
    epochs=a.epochs,
    seed=a.seed,
    prepare=prepare,
    train=training,
    rows_per_s=a.epochs * len(train) / training,
    total=total,
    peak_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    **found,
)
