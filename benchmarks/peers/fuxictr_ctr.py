"""FuxiCTR's DeepFM or DCNv2, built on its own layers, under its own loop and loader.

loop  FOLDER: one epoch over encoded rows, timed; AUC on the test rows
fit   FOLDER: its `fit` with early stopping and reduce-on-plateau on valid; AUC on the test rows
raw   FOLDER: from raw string columns, with its own feature processor
"""

import argparse
import json
import logging
import os
import tempfile
import time

started = time.perf_counter()
import torch
from fuxictr.features import FeatureMap
from fuxictr.pytorch.dataloaders import RankDataLoader
from fuxictr.pytorch.layers import CrossNetV2, FactorizationMachine, FeatureEmbedding, MLP_Block
from fuxictr.pytorch.models import BaseModel
from fuxictr.pytorch.torch_utils import seed_everything
from tables import Clock, meta, report

logging.disable(logging.CRITICAL)
parser = argparse.ArgumentParser()
parser.add_argument("mode", choices=["loop", "fit", "raw"])
parser.add_argument("folder")
parser.add_argument("--model", default="deepfm")
parser.add_argument("--batch", type=int, default=4096)
parser.add_argument("--dim", type=int, default=16)
parser.add_argument("--hidden", default="256,128")
parser.add_argument("--dropout", type=float, default=0.0)
parser.add_argument("--cross", type=int, default=3)
parser.add_argument("--embedding-l2", type=float, default=0.0)
parser.add_argument("--rows", type=int)
parser.add_argument("--epochs", type=int, default=100)
parser.add_argument("--patience", type=int, default=2)
parser.add_argument("--seed", type=int, default=2021)
a = parser.parse_args()
seed_everything(a.seed)
torch.set_num_threads(2)
hidden = [int(width) for width in a.hidden.split(",")]


class DeepFM(BaseModel):
    def __init__(self, feature_map, **options):
        super().__init__(feature_map, **options)
        self.embedding_layer = FeatureEmbedding(feature_map, a.dim)
        self.fm = FactorizationMachine(feature_map)
        self.mlp = MLP_Block(feature_map.sum_emb_out_dim(), hidden, "relu", 1, None, a.dropout, batch_norm=True)
        self.finish()

    def finish(self):
        self.compile("adam", "binary_crossentropy", 1e-3)
        self.reset_parameters()
        self.model_to_device()

    def forward(self, batch):
        x = self.get_inputs(batch)
        embedded = self.embedding_layer(x)
        logits = self.fm(x, embedded) + self.mlp(embedded.flatten(start_dim=1))
        return {"y_pred": self.output_activation(logits)}


class DCNv2(DeepFM):
    def __init__(self, feature_map, **options):
        BaseModel.__init__(self, feature_map, **options)
        self.embedding_layer = FeatureEmbedding(feature_map, a.dim)
        width = feature_map.sum_emb_out_dim()
        self.cross = CrossNetV2(width, a.cross)
        self.mlp = MLP_Block(width, hidden, "relu", None, None, a.dropout, batch_norm=True)
        self.out = torch.nn.Linear(width + hidden[-1], 1)
        self.finish()

    def forward(self, batch):
        flat = self.embedding_layer(self.get_inputs(batch), flatten_emb=True)
        logits = self.out(torch.cat([self.cross(flat), self.mlp(flat)], dim=-1))
        return {"y_pred": self.output_activation(logits)}


work = tempfile.mkdtemp()
options = dict(
    model_root=work,
    dataset_id="x",
    verbose=0,
    metrics=["AUC", "logloss"],
    monitor="AUC",
    monitor_mode="max",
    early_stop_patience=a.patience,
    task="binary_classification",
    embedding_regularizer=a.embedding_l2,
    net_regularizer=0,
    batch_size=a.batch,
    shuffle=True,
    data_format="parquet",
    num_workers=0,
    gpu=-1,
    seed=a.seed,
    embedding_dim=a.dim,
)
clock = Clock()
splits = {"train": "train", "test": "test", "valid": "valid"}
if a.mode == "raw":
    import ray
    from fuxictr.preprocess import FeatureProcessor, build_dataset

    names = [f"I{j}" for j in range(1, 14)], [f"C{j}" for j in range(1, 27)]
    columns = [
        {
            "name": names[0],
            "active": True,
            "dtype": "float",
            "type": "numeric",
            "fill_na": 0,
            "normalizer": "StandardScaler",
        },
        {"name": names[1], "active": True, "dtype": "str", "type": "categorical", "fill_na": ""},
    ]
    processor = FeatureProcessor(columns, {"name": "label", "dtype": "float"}, "x", work)
    source = os.path.abspath(a.folder)
    build_dataset(
        processor,
        train_data=f"{source}/train.parquet",
        test_data=f"{source}/test.parquet",
        data_format="parquet",
        min_categr_count=1,
    )
    ray.shutdown()
    folder, label = f"{work}/x", "label"
else:
    info, folder = meta(a.folder), os.path.abspath(a.folder)
    label = info["label"]
    features = [{c: {"source": "", "type": "numeric"}} for c in info["dense"]]
    features += [{c: {"source": "", "type": "categorical", "vocab_size": n}} for c, n in info["sparse"].items()]
    os.makedirs(f"{work}/x")
    with open(f"{work}/x/feature_map.json", "w") as file:
        json.dump(
            dict(
                dataset_id="x",
                num_fields=len(features),
                total_features=0,
                input_length=0,
                labels=[label],
                features=features,
            ),
            file,
        )
    if a.rows:
        import pandas as pd

        pd.read_parquet(f"{folder}/train.parquet").head(a.rows).to_parquet(f"{work}/train.parquet")
        splits["train"] = None
feature_map = FeatureMap("x", f"{work}/x")
feature_map.load(f"{work}/x/feature_map.json", options)
train_file = f"{work}/train.parquet" if splits["train"] is None else f"{folder}/train.parquet"
valid_file = f"{folder}/valid.parquet" if a.mode == "fit" else None
train, valid = RankDataLoader(feature_map, stage="train", train_data=train_file, valid_data=valid_file, **options)
model = (DeepFM if a.model == "deepfm" else DCNv2)(feature_map, **options)
prepare = clock.lap()
if a.mode == "fit":
    model.fit(train, epochs=a.epochs, validation_data=valid)
else:
    model._max_gradient_norm, model._eval_steps, model._total_steps = 10.0, 10**9, 0
    model._stop_training = False
    model._epoch_index = model._batch_index = 0
    model.train_epoch(train)
training = clock.lap()
total = time.perf_counter() - started
test = RankDataLoader(feature_map, stage="test", test_data=f"{folder}/test.parquet", **options)
result = model.evaluate(test)
clock.lap()
model.predict(test)
report(
    library="fuxictr",
    mode=a.mode,
    model=a.model,
    batch=a.batch,
    rows=train.num_samples,
    seed=a.seed,
    prepare=prepare,
    train=training,
    rows_per_s=train.num_samples / training,
    total=total,
    predict_rows_per_s=test.num_samples / clock.lap(),
    auc=float(result["AUC"]),
    logloss=float(result["logloss"]),
)
