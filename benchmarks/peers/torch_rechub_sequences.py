"""Torch-RecHub's own sequential models under its own trainer, on the events that match_data.py wrote as yoochoose or
ml-1m-sasrec.

NARM and STAMP: every prefix of a session is a row, softmax over all items. SASRec: a row a user, one negative for each
event, its pair-wise loss. GRU4Rec: every prefix is a row, 255 negatives by popularity. Exact ranking of all items of
training by inner product; of ml-1m without those that the user had.
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
from torch_rechub.models.matching import NARM, STAMP, GRU4Rec, SASRec
from torch_rechub.trainers import MatchTrainer
from torch_rechub.utils.data import TorchDataset

parser = argparse.ArgumentParser()
parser.add_argument("folder")
parser.add_argument("--model", choices=["narm", "stamp", "sasrec", "gru4rec"], default="narm")
parser.add_argument("--batch", type=int, default=128)
parser.add_argument("--epochs", type=int, default=1)
parser.add_argument("--dim", type=int, default=64)
parser.add_argument("--length", type=int, default=50)
parser.add_argument("--limit", type=int, help="only so many training rows")
parser.add_argument("--seed", type=int, default=2022)
parser.add_argument("--threads", type=int, default=2)
a = parser.parse_args()
torch.manual_seed(a.seed)
torch.set_num_threads(a.threads)
rng = np.random.default_rng(a.seed)

clock = Clock()
sessions = a.folder.rstrip("/").endswith("yoochoose")
user = "session_id" if sessions else "user_id"
parts = [pd.read_parquet(f"{a.folder}/{name}.parquet") for name in ("train", "test" if sessions else "valid", "test")]
train = parts[0].sort_values([user, "pos"], kind="stable")
values = np.sort(train["item_id"].unique())
n_items = len(values) + 1  # 0 is padding


def encoded(frame):
    """Users' places and items, oldest first; items that training never had are left out."""
    places = np.searchsorted(values, frame["item_id"].to_numpy()).clip(max=len(values) - 1)
    known = values[places] == frame["item_id"].to_numpy()
    return frame[user].to_numpy()[known], places[known] + 1


def starts_of(users):
    starts = np.flatnonzero(np.append(True, users[1:] != users[:-1]))
    return starts, np.append(starts[1:], len(users))


def prefixes(users, items, only=None):
    """For each event but a user's first: the events before it, filled up behind, and the event itself."""
    starts, ends = starts_of(users)
    place = np.arange(len(users)) - np.repeat(starts, ends - starts)
    chosen = np.flatnonzero(place > 0) if only is None else only
    count = np.minimum(place[chosen], a.length)
    history = np.zeros((len(chosen), a.length), np.int64)
    inside = np.arange(a.length) < count[:, None]
    history[inside] = items[(chosen - count)[:, None] + np.arange(a.length)][inside] if len(items) else 0
    return history, items[chosen]


users, items = encoded(train)
items = np.append(items, np.zeros(a.length, np.int64))  # so that windows at the end stay inside
if sessions:
    test_users, test_items = encoded(parts[2].sort_values([user, "pos"], kind="stable"))
    seen = None
    history, target = prefixes(test_users, np.append(test_items, np.zeros(a.length, np.int64)))
else:
    whole = pd.concat([train, parts[1], parts[2]]).sort_values([user, "pos"], kind="stable")
    all_users, all_items = encoded(whole)
    starts, ends = starts_of(all_users)
    history, target = prefixes(all_users, np.append(all_items, np.zeros(a.length, np.int64)), ends - 1)
    seen = [all_items[start : end - 1] for start, end in zip(starts, ends, strict=True)]


class Pairs(SASRec):
    """Its trainer's pair-wise loss takes one score a row, and raises for one at each event: they are made rows."""

    def forward(self, x):
        scores = super().forward(x)
        return scores if self.mode else tuple(one.flatten() for one in scores)


def cut(rows):
    """A batch as wide as its longest session: NARM's attention raises for a wider one."""
    x, y = torch.utils.data.default_collate(rows)
    if "hist" in x and a.model == "narm":
        x["hist"] = x["hist"][:, : int((x["hist"] > 0).sum(1).max())]
    return x, y


name = "seq" if a.model == "sasrec" else "hist"
feature = SequenceFeature(name, vocab_size=n_items, embed_dim=a.dim, pooling="concat", padding_idx=0)
mode = 2
if a.model == "sasrec":
    starts, ends = starts_of(users)
    rows = np.zeros((len(starts), a.length + 1), np.int64)
    for row, (start, end) in enumerate(zip(starts, ends, strict=True)):
        taken = items[max(start, end - a.length - 1) : end]
        rows[row, : len(taken)] = taken
    x = {"seq": rows[:, :-1] * (rows[:, 1:] > 0), "pos": rows[:, 1:]}
    x["neg"] = rng.integers(1, n_items, x["pos"].shape) * (x["pos"] > 0)
    y, mode = np.zeros(len(rows), np.int64), 1
    shared = [SequenceFeature(one, n_items, a.dim, pooling="concat", shared_with="seq") for one in ("pos", "neg")]
    model = Pairs([feature, *shared], max_len=a.length, dropout_rate=0.2)
else:
    past, y = prefixes(users, items)
    kept = slice(a.limit)
    x = {name: past[kept]}
    y = y[kept]
    if a.model == "narm":
        model = NARM(feature, 100, 0.25, 0.5)
    elif a.model == "stamp":
        model = STAMP(feature, 0.05, 0.002)
    else:
        p = np.bincount(items, minlength=n_items)[1:] ** 0.75
        x |= {"item": y, "user": np.zeros(len(y), np.int64)}
        x["bad"] = 1 + rng.choice(n_items - 1, (len(y), 255), p=p / p.sum())
        y = np.zeros(len(y), np.int64)
        item = SparseFeature("item", vocab_size=n_items, embed_dim=a.dim)
        past = SequenceFeature("hist", n_items, a.dim, pooling="concat", shared_with="item", padding_idx=0)
        bad = SequenceFeature("bad", n_items, a.dim, pooling="concat", shared_with="item")
        profile = [SparseFeature("user", vocab_size=1, embed_dim=a.dim)]
        model = GRU4Rec(profile, [past], [item], [bad], {"dims": [128, a.dim]}, temperature=0.05)
if a.model == "sasrec" and a.limit:
    x, y = {key: value[: a.limit] for key, value in x.items()}, y[: a.limit]
loader = torch.utils.data.DataLoader(TorchDataset(x, y), batch_size=a.batch, shuffle=True, collate_fn=cut)
trainer = MatchTrainer(
    model, mode=mode, optimizer_params={"lr": 1e-3, "weight_decay": 0}, n_epoch=a.epochs, model_path=tempfile.mkdtemp()
)
prepare = clock.lap()
trainer.fit(loader)
training = clock.lap()
total = time.perf_counter() - started

model.eval()
ranks = []
with torch.no_grad():
    if a.model == "sasrec":
        vectors = model.item_emb.embed_dict["seq"].weight
    elif a.model == "gru4rec":
        vectors = torch.nn.functional.normalize(model.embedding.embed_dict["item"].weight, dim=-1)
    else:
        vectors = model.item_emb.weight
    model.mode = "user"
    for start in range(0, len(target), 512):
        part = history[start : start + 512]
        batch = {name: torch.from_numpy(part[:, : (part > 0).sum(1).max()] if a.model == "narm" else part)}
        if a.model == "gru4rec":
            batch["user"] = torch.zeros(len(batch[name]), dtype=torch.int64)
        scores = model(batch).reshape(len(batch[name]), -1) @ vectors.T
        scores[:, 0] = -torch.inf
        wanted = torch.from_numpy(target[start : start + 512])
        own = scores.gather(1, wanted[:, None])
        if seen is not None:
            for row, left_out in enumerate(seen[start : start + 512]):
                scores[row, torch.from_numpy(left_out)] = -torch.inf
        ranks.append((scores >= own).sum(1).clamp(min=1))
ranks = torch.cat(ranks).double()
k = 20 if sessions else 10
hit = ranks <= k
report(
    library="torch-rechub",
    model=a.model,
    batch=a.batch,
    rows=len(y),
    epochs=a.epochs,
    seed=a.seed,
    prepare=prepare,
    train=training,
    rows_per_s=a.epochs * len(y) / training,
    targets_per_s=a.epochs * (int((x["pos"] > 0).sum()) if a.model == "sasrec" else len(y)) / training,
    total=total,
    peak_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    **{
        f"recall@{k}": float(hit.double().mean()),
        f"mrr@{k}": float((hit / ranks).mean()),
        f"ndcg@{k}": float((hit / torch.log2(ranks + 1)).mean()),
    },
)
