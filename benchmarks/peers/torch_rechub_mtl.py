"""Torch-RecHub's own MMOE or PLE under its own trainer."""

import tempfile
import time

started = time.perf_counter()
import numpy as np
import torch
from options import options
from tables import Clock, arrays, meta, read, report
from torch_rechub.basic.features import DenseFeature, SparseFeature
from torch_rechub.models.multi_task import MMOE, PLE
from torch_rechub.trainers import MTLTrainer
from torch_rechub.utils.data import DataGenerator

a = options(__doc__, ["loop", "fit"], ["mmoe", "ple"])
torch.manual_seed(a.seed)
np.random.seed(a.seed)
torch.set_num_threads(a.threads)

clock = Clock()
info = meta(a.folder)
labels = info["labels"]
frames = {part: read(a.folder, part, a.rows if part == "train" else None) for part in ("train", "test")}
frames["valid"] = read(a.folder, "valid") if a.mode == "fit" else frames["test"]
parts = [(arrays(frames[part], info), frames[part][labels].to_numpy(np.float32)) for part in ("train", "valid", "test")]
loaders = DataGenerator(*parts[0]).generate_dataloader(*parts[1], *parts[2], batch_size=a.batch, num_workers=a.workers)
features = [SparseFeature(column, size, a.dim) for column, size in info["sparse"].items()]
features += [DenseFeature(column) for column in info["dense"]]
types = ["classification"] * len(labels)
hidden, towers = {"dims": a.hidden}, [{"dims": list(a.tower)} for _ in labels]
if a.model == "mmoe":
    model = MMOE(features, types, a.experts, hidden, towers)
else:
    model = PLE(features, types, 1, a.experts // 4, a.experts // 2, hidden, towers)
trainer = MTLTrainer(
    model,
    types,
    optimizer_params={"lr": 1e-3, "weight_decay": a.decay},
    n_epoch=a.epochs,
    earlystop_patience=a.patience,
    device=a.device,
    model_path=tempfile.mkdtemp(),
)
for _ in range(a.warm):
    trainer.train_one_epoch(loaders[0])
prepare = clock.lap()
if a.mode == "fit":
    epochs = len(trainer.fit(loaders[0], loaders[1], mode=a.model, seed=a.seed))
else:
    trainer.train_one_epoch(loaders[0])
    epochs = 1
training = clock.lap()
total = time.perf_counter() - started
rows = len(frames["train"])
scores = trainer.evaluate(trainer.model, loaders[2])
aucs = {f"auc_{label}": float(score) for label, score in zip(labels, scores, strict=True)}
report(rows=rows, prepare=prepare, train=training, rows_per_s=epochs * rows / training, total=total, **aucs)
