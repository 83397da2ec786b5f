"""FuxiCTR's DeepFM, DCNv2 or DIN, built on its own layers, under its own loop and loader."""

import time

started = time.perf_counter()
import fuxictr_raw
import torch
from fuxictr.pytorch.layers import CrossNetV2, DIN_Attention, FactorizationMachine, FeatureEmbedding, MLP_Block
from fuxictr.pytorch.layers.activations import Dice
from fuxictr.pytorch.models import BaseModel
from fuxictr_data import Session, train_epoch
from options import options
from tables import Clock, meta, report, report_predict, write_scores

a = options(__doc__, ["loop", "fit", "raw", "predict"], ["deepfm", "dcn_v2", "din"])


class Model(BaseModel):
    def __init__(self, feature_map, **options):
        super().__init__(feature_map, **options)
        self.build(feature_map)
        self.compile("adam", "binary_crossentropy", 1e-3)
        self.reset_parameters()
        self.model_to_device()

    def forward(self, batch):
        return {"y_pred": self.output_activation(self.logits(self.get_inputs(batch)))}


class DeepFM(Model):
    def build(self, feature_map):
        self.embedding_layer = FeatureEmbedding(feature_map, a.dim)
        self.fm = FactorizationMachine(feature_map)
        self.mlp = MLP_Block(feature_map.sum_emb_out_dim(), a.hidden, "relu", 1, None, a.dropout, batch_norm=True)

    def logits(self, x):
        embedded = self.embedding_layer(x)
        return self.fm(x, embedded) + self.mlp(embedded.flatten(start_dim=1))


class DCNv2(Model):
    def build(self, feature_map):
        self.embedding_layer = FeatureEmbedding(feature_map, a.dim)
        width = feature_map.sum_emb_out_dim()
        self.cross = CrossNetV2(width, a.cross)
        self.mlp = MLP_Block(width, a.hidden, "relu", None, None, a.dropout, batch_norm=True)
        self.out = torch.nn.Linear(width + a.hidden[-1], 1)

    def logits(self, x):
        flat = self.embedding_layer(x, flatten_emb=True)
        return self.out(torch.cat([self.cross(flat), self.mlp(flat)], dim=-1))


class DIN(Model):
    def build(self, feature_map):
        self.sequences = meta(session.folder)["sequences"]
        self.embedding_layer = FeatureEmbedding(feature_map, a.dim)
        self.attention = torch.nn.ModuleList(DIN_Attention(a.dim, a.attention, "dice") for _ in self.sequences)
        activations = [Dice(width) for width in a.hidden]
        self.mlp = MLP_Block(feature_map.sum_emb_out_dim(), a.hidden, activations, 1, None, a.dropout)

    def logits(self, x):
        embedded = self.embedding_layer.embedding_layer(x)
        for attend, (column, of) in zip(self.attention, self.sequences.items(), strict=True):
            embedded[column] = attend(embedded[of], embedded[column], x[column] > 0)
        return self.mlp(torch.cat(list(embedded.values()), dim=1))


clock = Clock()
session = Session(a, "binary_classification")
if a.mode == "raw":
    fuxictr_raw.build(session)
else:
    session.describe()
feature_map = session.feature_map()
model = {"deepfm": DeepFM, "dcn_v2": DCNv2, "din": DIN}[a.model](feature_map, **session.options)
if a.mode == "predict":
    clock.lap()
    loader = session.test_loader(feature_map, session.train_file())
    write_scores(model.predict(loader), f"{session.work}/scores.parquet")
    rows = loader.num_samples
    report_predict(rows, clock.lap(), time.perf_counter() - started)
    raise SystemExit
train, valid = session.train_loader(feature_map, f"{session.folder}/valid.parquet" if a.mode == "fit" else None)
for _ in range(a.warm):
    train_epoch(model, train)
prepare = clock.lap()
if a.mode == "fit":
    model.fit(train, epochs=a.epochs, validation_data=valid)
else:
    train_epoch(model, train)
training = clock.lap()
total = time.perf_counter() - started
found = model.evaluate(session.test_loader(feature_map))
rows = train.num_samples
report(
    rows=rows,
    prepare=prepare,
    train=training,
    rows_per_s=rows / training,
    total=total,
    auc=float(found["AUC"]),
    logloss=float(found["logloss"]),
)
