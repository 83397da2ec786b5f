"""DeepCTR-Torch's own DeepFM, DCN (with matrices, which makes it DCNv2), DIN or MMOE under its own `fit`."""

import contextlib
import os
import tempfile
import time

started = time.perf_counter()
import numpy as np
import torch
from deepctr_torch.inputs import DenseFeat, SparseFeat, VarLenSparseFeat
from deepctr_torch.models import DCN, DIN, MMOE, DeepFM
from options import options
from sklearn.metrics import roc_auc_score
from tables import Clock, arrays, meta, read, report, report_predict, write_scores

a = options(__doc__, ["loop", "predict"], ["deepfm", "dcn_v2", "din", "mmoe"])
torch.manual_seed(a.seed)
torch.set_num_threads(a.threads)
info = meta(a.folder)
labels = info["labels"]


def inputs(frame):
    x = arrays(frame, info)
    for column, of in info["sequences"].items():  # the library finds histories by this prefix
        x[f"hist_{of}"] = np.ascontiguousarray(x.pop(column)[:, ::-1])  # and reads them from the front
        x["seq_length"] = (x[f"hist_{of}"] > 0).sum(1)
    return x


def build():
    sparse = [SparseFeat(column, size, a.dim) for column, size in info["sparse"].items()]
    dense = [DenseFeat(column) for column in info["dense"]]
    common = dict(dnn_hidden_units=a.hidden, dnn_use_bn=True, dnn_dropout=a.dropout, seed=a.seed)
    if a.model == "deepfm":
        return DeepFM(sparse + dense, sparse + dense, **common)
    if a.model == "dcn_v2":
        return DCN(sparse + dense, sparse + dense, cross_num=a.cross, cross_parameterization="matrix", **common)
    if a.model == "din":
        history = [
            VarLenSparseFeat(
                SparseFeat(f"hist_{of}", info["sparse"][of], a.dim, embedding_name=of),
                a.length,
                length_name="seq_length",
            )
            for of in info["sequences"].values()
        ]
        common |= dict(dnn_use_bn=False, att_hidden_size=a.attention, att_activation="dice")
        # `dice` in the last layers fails in this library: they have relu.
        return DIN(sparse + dense + history, list(info["sequences"].values()), **common)
    del common["dnn_hidden_units"]
    sizes = dict(num_experts=a.experts, expert_dnn_hidden_units=a.hidden, tower_dnn_hidden_units=a.tower)
    names = dict(task_types=["binary"] * len(labels), task_names=labels)
    return MMOE(sparse + dense, gate_dnn_hidden_units=(), **sizes, **names, **common)


def fit(model, x, y):
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        model.fit(x, y, batch_size=a.batch, epochs=1, verbose=0, shuffle=True)


clock = Clock()
train = read(a.folder, "train", a.rows)
x, y = inputs(train), train[labels].to_numpy(np.float32)
reading = clock.lap()
model = build()
model.compile("adam", ["binary_crossentropy"] * len(labels) if len(labels) > 1 else "binary_crossentropy")
prepare = reading + clock.lap()
if a.mode == "predict":
    write_scores(model.predict(x, a.batch), f"{tempfile.mkdtemp()}/scores.parquet")
    seconds = reading + clock.lap()
    report_predict(len(train), seconds, time.perf_counter() - started)
    raise SystemExit
fit(model, x, y)
training = clock.lap()
total = time.perf_counter() - started
test = read(a.folder, "test")
scores = model.predict(inputs(test), a.batch)
aucs = {
    f"auc_{label}" if len(labels) > 1 else "auc": float(roc_auc_score(test[label], scores[:, j]))
    for j, label in enumerate(labels)
}
rows = len(train)
report(rows=rows, prepare=prepare, train=training, rows_per_s=rows / training, total=total, **aucs)
