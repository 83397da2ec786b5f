"""Torch-RecHub's own DeepFM or DCNv2 under its own trainer.

loop  FOLDER: one epoch over encoded rows, timed; AUC on the test rows
fit   FOLDER: train with early stopping on valid; AUC on the test rows
raw   FOLDER: from raw string columns, with the label encoding its examples use
"""

import argparse
import tempfile
import time

started = time.perf_counter()
import numpy as np
import torch
from sklearn.preprocessing import LabelEncoder, MinMaxScaler
from tables import Clock, meta, read, report
from torch_rechub.basic.features import DenseFeature, SparseFeature
from torch_rechub.models.ranking import DCNv2, DeepFM
from torch_rechub.trainers import CTRTrainer
from torch_rechub.utils.data import DataGenerator

parser = argparse.ArgumentParser()
parser.add_argument("mode", choices=["loop", "fit", "raw"])
parser.add_argument("folder")
parser.add_argument("--model", default="deepfm")
parser.add_argument("--batch", type=int, default=4096)
parser.add_argument("--dim", type=int, default=16)
parser.add_argument("--hidden", default="256,128")
parser.add_argument("--dropout", type=float, default=0.0)
parser.add_argument("--rows", type=int)
parser.add_argument("--epochs", type=int, default=50)
parser.add_argument("--patience", type=int, default=2)
parser.add_argument("--seed", type=int, default=2022)
parser.add_argument("--decay", type=float, default=1e-5)
a = parser.parse_args()
torch.manual_seed(a.seed)
np.random.seed(a.seed)
torch.set_num_threads(2)

clock = Clock()
if a.mode == "raw":
    train, test = read(a.folder, "train"), read(a.folder, "test")
    dense = [c for c in train if c.startswith("I")]
    sparse = [c for c in train if c.startswith("C")]
    both = __import__("pandas").concat([train, test], ignore_index=True)
    both[sparse] = both[sparse].fillna("-996666")
    both[dense] = MinMaxScaler().fit_transform(both[dense].fillna(0))
    sizes = {}
    for column in sparse:
        both[column] = LabelEncoder().fit_transform(both[column])
        sizes[column] = int(both[column].max()) + 1
    train, test = both.iloc[: len(train)], both.iloc[len(train) :]
    valid, label = test, "label"
else:
    info = meta(a.folder)
    sizes, dense, label = info["sparse"], info["dense"], info["label"]
    train, test = read(a.folder, "train"), read(a.folder, "test")
    valid = read(a.folder, "valid") if a.mode == "fit" else test
    if a.rows:
        train = train.head(a.rows)
columns = [*sizes, *dense]


def inputs(frame):
    return {c: frame[c].to_numpy(np.int64 if c in sizes else np.float32) for c in columns}


sparse_features = [SparseFeature(c, size, a.dim) for c, size in sizes.items()]
features = sparse_features + [DenseFeature(c) for c in dense]
mlp = {"dims": [int(width) for width in a.hidden.split(",")], "dropout": a.dropout, "activation": "relu"}
if a.model == "deepfm":
    model = DeepFM(features, sparse_features, mlp)
else:
    model = DCNv2(features, 3, mlp, use_low_rank_mixture=False)
loaders = DataGenerator(inputs(train), train[label].to_numpy(np.float32)).generate_dataloader(
    inputs(valid),
    valid[label].to_numpy(np.float32),
    inputs(test),
    test[label].to_numpy(np.float32),
    batch_size=a.batch,
    num_workers=0,
)
trainer = CTRTrainer(
    model,
    optimizer_params={"lr": 1e-3, "weight_decay": a.decay},
    n_epoch=a.epochs,
    earlystop_patience=a.patience,
    model_path=tempfile.mkdtemp(),
)
prepare = clock.lap()
if a.mode == "fit":
    trainer.fit(loaders[0], loaders[1])
else:
    trainer.train_one_epoch(loaders[0])
training = clock.lap()
total = time.perf_counter() - started
auc = trainer.evaluate(trainer.model, loaders[2])
clock.lap()
trainer.predict(trainer.model, loaders[2])
report(
    library="torch-rechub",
    mode=a.mode,
    model=a.model,
    batch=a.batch,
    rows=len(train),
    seed=a.seed,
    prepare=prepare,
    train=training,
    rows_per_s=len(train) / training,
    total=total,
    predict_rows_per_s=len(test) / clock.lap(),
    auc=float(auc),
)
