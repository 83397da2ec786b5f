"""Torch-RecHub's own MMOE or PLE under its own trainer, on census as census_data.py cuts it.

Its example's preprocessing: 7 numbers scaled to 0..1, every other column label-encoded over all rows.

    python torch_rechub_mtl.py FOLDER --model mmoe --experts 8 --hidden 16 --tower 8 --dim 4
"""

import argparse
import itertools
import tempfile
import time

started = time.perf_counter()
import numpy as np
import pandas as pd
import torch
from sklearn.preprocessing import LabelEncoder, MinMaxScaler
from tables import Clock, read, report
from torch_rechub.basic.features import DenseFeature, SparseFeature
from torch_rechub.models.multi_task import MMOE, PLE
from torch_rechub.trainers import MTLTrainer
from torch_rechub.utils.data import DataGenerator

parser = argparse.ArgumentParser()
parser.add_argument("folder")
parser.add_argument("--model", choices=["mmoe", "ple"], default="mmoe")
parser.add_argument("--batch", type=int, default=1024)
parser.add_argument("--dim", type=int, default=4)
parser.add_argument("--experts", type=int, default=8)
parser.add_argument("--hidden", default="16")
parser.add_argument("--tower", default="8")
parser.add_argument("--epochs", type=int, default=10)
parser.add_argument("--patience", type=int, default=2)
parser.add_argument("--loop", action="store_true", help="one epoch, no validation: for its speed")
parser.add_argument("--seed", type=int, default=2022)
parser.add_argument("--threads", type=int, default=2)
a = parser.parse_args()
torch.manual_seed(a.seed)
np.random.seed(a.seed)
torch.set_num_threads(a.threads)

DENSE = ["age", "wage_per_hour", "capital_gains", "capital_losses", "stock_dividends", "num_emp", "weeks_worked"]
clock = Clock()
frames = {part: read(a.folder, part) for part in ("train", "valid", "test")}
both = pd.concat(frames.values(), ignore_index=True)
labels = np.stack(
    [both["income_50k"].str.startswith("50000+"), both["marital_stat"] == "Never married"], axis=1
).astype(np.float32)
both = both.drop(columns=["income_50k", "marital_stat", "instance_weight"])
sparse = [column for column in both if column not in DENSE]
for column in sparse:
    both[column] = LabelEncoder().fit_transform(both[column])
both[DENSE] = MinMaxScaler().fit_transform(both[DENSE])
features = [SparseFeature(column, int(both[column].max()) + 1, a.dim) for column in sparse]
features += [DenseFeature(column) for column in DENSE]

cuts = np.cumsum([0, *(len(frame) for frame in frames.values())])
parts = []
for start, stop in itertools.pairwise(cuts):
    rows = both.iloc[start:stop]
    columns = {c: rows[c].to_numpy(np.float32 if c in DENSE else np.int64) for c in both}
    parts += [columns, labels[start:stop]]
loaders = DataGenerator(*parts[:2]).generate_dataloader(*parts[2:], batch_size=a.batch, num_workers=0)

hidden = {"dims": [int(width) for width in a.hidden.split(",")]}
towers = [{"dims": [int(width) for width in a.tower.split(",")]} for _ in range(2)]
types = ["classification", "classification"]
if a.model == "mmoe":
    model = MMOE(features, types, a.experts, hidden, towers)
else:
    model = PLE(features, types, 1, a.experts // 4, a.experts // 2, hidden, towers)
trainer = MTLTrainer(
    model,
    types,
    optimizer_params={"lr": 1e-3, "weight_decay": 1e-5},
    n_epoch=a.epochs,
    earlystop_patience=a.patience,
    model_path=tempfile.mkdtemp(),
)
prepare = clock.lap()
if a.loop:
    log = [trainer.train_one_epoch(loaders[0])]
else:
    log = trainer.fit(loaders[0], loaders[1], mode=a.model, seed=a.seed)
training = clock.lap()
income, marital = trainer.evaluate(trainer.model, loaders[2])
report(
    library="torch-rechub",
    model=a.model,
    batch=a.batch,
    seed=a.seed,
    epochs=len(log),
    prepare=prepare,
    train=training,
    rows_per_s=len(log) * len(frames["train"]) / training,
    total=time.perf_counter() - started,
    auc_income=income,
    auc_marital=marital,
)
