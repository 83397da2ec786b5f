"""Torch-RecHub's own DeepFM, DCNv2 or DIN under its own trainer."""

import tempfile
import time

started = time.perf_counter()
import numpy as np
import pandas as pd
import torch
from options import options
from sklearn.preprocessing import LabelEncoder, MinMaxScaler
from tables import Clock, arrays, meta, read, report, report_predict, write_scores
from torch_rechub.basic.features import DenseFeature, SequenceFeature, SparseFeature
from torch_rechub.models.ranking import DIN, DCNv2, DeepFM
from torch_rechub.trainers import CTRTrainer
from torch_rechub.utils.data import DataGenerator

a = options(__doc__, ["loop", "fit", "raw", "predict"], ["deepfm", "dcn_v2", "din"])
torch.manual_seed(a.seed)
np.random.seed(a.seed)
torch.set_num_threads(a.threads)


def label_encoded():
    """Raw strings as the library's examples encode them: over all rows, missing as a value of its own."""
    train, test = read(a.folder, "train"), read(a.folder, "test")
    dense = [column for column in train if column.startswith("I")]
    sparse = [column for column in train if column.startswith("C")]
    both = pd.concat([train, test], ignore_index=True)
    both[sparse] = both[sparse].fillna("-996666")
    both[dense] = MinMaxScaler().fit_transform(both[dense].fillna(0))
    sizes = {}
    for column in sparse:
        both[column] = LabelEncoder().fit_transform(both[column])
        sizes[column] = int(both[column].max()) + 1
    info = {"labels": ["label"], "sparse": sizes, "dense": dense, "sequences": {}}
    return info, both.iloc[: len(train)], both.iloc[len(train) :]


def build(info):
    mlp = {"dims": a.hidden, "dropout": a.dropout}
    sparse = [SparseFeature(column, size, a.dim) for column, size in info["sparse"].items()]
    features = sparse + [DenseFeature(column) for column in info["dense"]]
    if a.model == "deepfm":
        return DeepFM(features, sparse, {**mlp, "activation": "relu"})
    if a.model == "dcn_v2":
        return DCNv2(features, a.cross, {**mlp, "activation": "relu"}, use_low_rank_mixture=False)
    targets = [feature for feature in sparse if feature.name in info["sequences"].values()]
    history = [
        SequenceFeature(column, info["sparse"][of], a.dim, pooling="concat", shared_with=of, padding_idx=0)
        for column, of in info["sequences"].items()
    ]
    others = [feature for feature in sparse if feature not in targets]
    return DIN(others, history, targets, mlp, {"dims": a.attention, "activation": "dice"})


clock = Clock()
if a.mode == "raw":
    info, train, test = label_encoded()
else:
    info = meta(a.folder)
    train = read(a.folder, "train", a.rows)
    test = train if a.mode == "predict" else read(a.folder, "test")
valid = read(a.folder, "valid") if a.mode == "fit" else test
label = info["labels"][0]
parts = [(arrays(frame, info), frame[label].to_numpy(np.float32)) for frame in (train, valid, test)]
loaders = DataGenerator(*parts[0]).generate_dataloader(*parts[1], *parts[2], batch_size=a.batch, num_workers=a.workers)
reading = clock.lap()
trainer = CTRTrainer(
    build(info),
    optimizer_params={"lr": 1e-3, "weight_decay": a.decay},
    n_epoch=a.epochs,
    earlystop_patience=a.patience,
    device=a.device,
    model_path=tempfile.mkdtemp(),
)
for _ in range(a.warm):
    trainer.train_one_epoch(loaders[0])
prepare = reading + clock.lap()
if a.mode == "predict":
    write_scores(trainer.predict(trainer.model, loaders[2]), f"{trainer.model_path}/scores.parquet")
    seconds = reading + clock.lap()
    report_predict(len(train), seconds, time.perf_counter() - started)
    raise SystemExit
if a.mode == "fit":
    trainer.fit(loaders[0], loaders[1])
else:
    trainer.train_one_epoch(loaders[0])
training = clock.lap()
total = time.perf_counter() - started
auc = trainer.evaluate(trainer.model, loaders[2])
report(rows=len(train), prepare=prepare, train=training, rows_per_s=len(train) / training, total=total, auc=float(auc))
