"""Torch-RecHub's own SASRec under its own trainer: windows of each user's events, one sampled negative for each.

Its pairwise loss fails on the (B, L) scores that its SASRec returns; here they reach it as one score an event, without padding.
"""

import tempfile
import time

started = time.perf_counter()
import numpy as np
import torch
from options import options
from sequences import users_of, windows
from tables import Clock, meta, read, report
from torch_rechub.basic.features import SequenceFeature
from torch_rechub.models.matching import SASRec
from torch_rechub.trainers import MatchTrainer
from torch_rechub.utils.data import MatchDataGenerator

a = options(__doc__, ["loop"], ["sasrec"])
torch.manual_seed(a.seed)
rng = np.random.default_rng(a.seed)
torch.set_num_threads(a.threads)


class Events(torch.nn.Module):
    """The scores of the events that are there: (N,) positive, (N,) negative."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        there = x["pos"] > 0
        positive, negative = self.model(x)
        return positive[there], negative[there]


clock = Clock()
items = meta(a.folder)["sparse"]["item_id"]
sequence, positive = windows(users_of(read(a.folder, "train", a.rows)), a.length)
negative = rng.integers(1, items, positive.shape) * (positive > 0)
x = {"seq": sequence, "pos": positive, "neg": negative}
features = [SequenceFeature("seq", items, a.dim, pooling="concat")]
features += [SequenceFeature(name, items, a.dim, pooling="concat", shared_with="seq") for name in ("pos", "neg")]
model = SASRec(features, max_len=a.length, dropout_rate=a.dropout, num_blocks=a.blocks, num_heads=1)
loader, _, _ = MatchDataGenerator(x, np.zeros(len(sequence), np.int64)).generate_dataloader(
    {"seq": sequence[:1]}, {"seq": sequence[:1]}, a.batch, num_workers=a.workers
)
trainer = MatchTrainer(
    Events(model),
    mode=1,
    optimizer_params={"lr": 1e-3, "weight_decay": a.decay},
    device=a.device,
    model_path=tempfile.mkdtemp(),
)
for _ in range(a.warm):
    trainer.train_one_epoch(loader)
prepare = clock.lap()
trainer.train_one_epoch(loader)
training = clock.lap()
targets = int((positive > 0).sum())
total = time.perf_counter() - started
report(rows=targets, prepare=prepare, train=training, rows_per_s=targets / training, total=total)
