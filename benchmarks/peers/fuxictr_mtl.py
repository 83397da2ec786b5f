"""MMoE built on FuxiCTR's own layers and trained by its loop and loader."""

import time

started = time.perf_counter()
import torch
from fuxictr.pytorch.layers import FeatureEmbedding, MLP_Block
from fuxictr.pytorch.models import MultiTaskModel
from fuxictr_data import Session, train_epoch
from options import options
from tables import Clock, meta, report

a = options(__doc__, ["loop"], ["mmoe"])
labels = meta(a.folder)["labels"]


class MMoE(MultiTaskModel):
    def __init__(self, feature_map, **options):
        super().__init__(feature_map, num_tasks=len(labels), **options)
        self.embedding_layer = FeatureEmbedding(feature_map, a.dim)
        width = feature_map.sum_emb_out_dim()
        layers = dict(dropout_rates=a.dropout, batch_norm=True)
        self.experts = torch.nn.ModuleList(
            MLP_Block(width, a.hidden, "relu", None, None, **layers) for _ in range(a.experts)
        )
        self.gates = torch.nn.ModuleList(torch.nn.Linear(width, a.experts, bias=False) for _ in labels)
        self.towers = torch.nn.ModuleList(MLP_Block(a.hidden[-1], a.tower, "relu", 1, None, **layers) for _ in labels)
        self.compile("adam", "binary_crossentropy", 1e-3)
        self.reset_parameters()
        self.model_to_device()

    def forward(self, batch):
        flat = self.embedding_layer(self.get_inputs(batch), flatten_emb=True)
        experts = torch.stack([expert(flat) for expert in self.experts], dim=1)
        predicted = {}
        for label, gate, head, activation in zip(labels, self.gates, self.towers, self.output_activation, strict=True):
            mixed = (gate(flat).softmax(dim=1)[:, :, None] * experts).sum(dim=1)
            predicted[f"{label}_pred"] = activation(head(mixed))
        return predicted


clock = Clock()
session = Session(a, ["binary_classification"] * len(labels))
session.describe()
feature_map = session.feature_map()
train, _ = session.train_loader(feature_map)
model = MMoE(feature_map, **session.options)
for _ in range(a.warm):
    train_epoch(model, train)
prepare = clock.lap()
train_epoch(model, train)
training = clock.lap()
total = time.perf_counter() - started
found = model.evaluate(session.test_loader(feature_map))
rows = train.num_samples
aucs = {f"auc_{label}": float(found[f"{label}_AUC"]) for label in labels}
report(rows=rows, prepare=prepare, train=training, rows_per_s=rows / training, total=total, **aucs)
