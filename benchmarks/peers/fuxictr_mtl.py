"""MMoE built on FuxiCTR's own layers and trained by its loop and loader, on census as census_data.py cuts it.

    python fuxictr_mtl.py FOLDER

One epoch, timed; every column but the numbers is encoded to integers beforehand, outside the timing.
"""

import argparse
import json
import logging
import os
import tempfile
import time

started = time.perf_counter()
import pandas as pd
import torch
from fuxictr.features import FeatureMap
from fuxictr.pytorch.dataloaders import RankDataLoader
from fuxictr.pytorch.layers import FeatureEmbedding, MLP_Block
from fuxictr.pytorch.models import MultiTaskModel
from fuxictr.pytorch.torch_utils import seed_everything
from sklearn.preprocessing import MinMaxScaler
from tables import Clock, read, report

logging.disable(logging.CRITICAL)
parser = argparse.ArgumentParser()
parser.add_argument("folder")
parser.add_argument("--batch", type=int, default=1024)
parser.add_argument("--dim", type=int, default=16)
parser.add_argument("--experts", type=int, default=8)
parser.add_argument("--hidden", default="256,128")
parser.add_argument("--tower", default="64")
parser.add_argument("--seed", type=int, default=2022)
parser.add_argument("--threads", type=int, default=2)
a = parser.parse_args()
seed_everything(a.seed)
torch.set_num_threads(a.threads)
hidden, tower = ([int(width) for width in text.split(",")] for text in (a.hidden, a.tower))
DENSE = ["age", "wage_per_hour", "capital_gains", "capital_losses", "stock_dividends", "num_emp", "weeks_worked"]
LABELS = ["income", "marital"]


class MMoE(MultiTaskModel):
    def __init__(self, feature_map, **options):
        super().__init__(feature_map, task=["binary_classification"] * 2, num_tasks=2, **options)
        self.embedding_layer = FeatureEmbedding(feature_map, a.dim)
        width = feature_map.sum_emb_out_dim()
        self.experts = torch.nn.ModuleList(
            MLP_Block(width, hidden, "relu", None, None, 0.0, batch_norm=True) for _ in range(a.experts)
        )
        self.gates = torch.nn.ModuleList(torch.nn.Linear(width, a.experts) for _ in LABELS)
        self.towers = torch.nn.ModuleList(
            MLP_Block(hidden[-1], tower, "relu", 1, None, 0.0, batch_norm=True) for _ in LABELS
        )
        self.compile("adam", "binary_crossentropy", 1e-3)
        self.reset_parameters()
        self.model_to_device()

    def forward(self, batch):
        flat = self.embedding_layer(self.get_inputs(batch), flatten_emb=True)
        experts = torch.stack([expert(flat) for expert in self.experts], dim=1)
        predicted = {}
        for label, gate, head, activation in zip(LABELS, self.gates, self.towers, self.output_activation, strict=True):
            mixed = (gate(flat).softmax(dim=1)[:, :, None] * experts).sum(dim=1)
            predicted[f"{label}_pred"] = activation(head(mixed))
        return predicted


clock = Clock()
frames = {part: read(a.folder, part) for part in ("train", "test")}
both = pd.concat(frames.values(), ignore_index=True)
both["income"] = both.pop("income_50k").str.startswith("50000+").astype(float)
both["marital"] = (both.pop("marital_stat") == "Never married").astype(float)
both = both.drop(columns=["instance_weight"])
sparse = [column for column in both if column not in (*DENSE, *LABELS)]
sizes = {}
for column in sparse:
    codes, values = pd.factorize(both[column])
    both[column], sizes[column] = codes + 1, len(values) + 1
both[DENSE] = MinMaxScaler().fit_transform(both[DENSE])
work = tempfile.mkdtemp()
n = len(frames["train"])
both.iloc[:n].to_parquet(f"{work}/train.parquet")
both.iloc[n:].to_parquet(f"{work}/test.parquet")
features = [{c: {"source": "", "type": "numeric"}} for c in DENSE]
features += [{c: {"source": "", "type": "categorical", "vocab_size": size}} for c, size in sizes.items()]
os.makedirs(f"{work}/x")
with open(f"{work}/x/feature_map.json", "w") as file:
    head = dict(dataset_id="x", num_fields=len(features), total_features=0, input_length=0)
    json.dump({**head, "labels": LABELS, "features": features}, file)
options = dict(
    model_root=work,
    dataset_id="x",
    verbose=0,
    metrics=["AUC"],
    monitor="AUC",
    monitor_mode="max",
    embedding_regularizer=0,
    net_regularizer=0,
    batch_size=a.batch,
    shuffle=True,
    data_format="parquet",
    num_workers=0,
    gpu=-1,
    seed=a.seed,
    embedding_dim=a.dim,
)
feature_map = FeatureMap("x", f"{work}/x")
feature_map.load(f"{work}/x/feature_map.json", options)
train, _ = RankDataLoader(feature_map, stage="train", train_data=f"{work}/train.parquet", valid_data=None, **options)
model = MMoE(feature_map, **options)
model._max_gradient_norm, model._eval_steps, model._total_steps = 10.0, 10**9, 0
model._stop_training = False
model._epoch_index = model._batch_index = 0
prepare = clock.lap()
model.train_epoch(train)
training = clock.lap()
total = time.perf_counter() - started
test = RankDataLoader(feature_map, stage="test", test_data=f"{work}/test.parquet", **options)
found = model.evaluate(test)
report(
    library="fuxictr",
    model="mmoe",
    batch=a.batch,
    rows=train.num_samples,
    seed=a.seed,
    prepare=prepare,
    train=training,
    rows_per_s=train.num_samples / training,
    total=total,
    auc_income=float(found["income_AUC"]),
    auc_marital=float(found["marital_AUC"]),
)
