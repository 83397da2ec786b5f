"""LightGBM with its own categorical handling, one boosted model: what a user would pick instead.

fit FOLDER: encoded rows (as tables.encode wrote them), early stopping on valid; AUC on the test rows
"""

import argparse
import time

import lightgbm
from sklearn.metrics import roc_auc_score
from tables import meta, read, report

parser = argparse.ArgumentParser()
parser.add_argument("mode", choices=["fit"])
parser.add_argument("folder")
parser.add_argument("--seed", type=int, default=0)
a = parser.parse_args()
info = meta(a.folder)
columns = [*info["sparse"], *info["dense"]]
frames = {split: read(a.folder, split) for split in ("train", "valid", "test")}
started = time.perf_counter()
train, valid = (
    lightgbm.Dataset(frames[s][columns], frames[s][info["labels"][0]], categorical_feature=list(info["sparse"]))
    for s in ("train", "valid")
)
options = {
    "objective": "binary",
    "metric": "auc",
    "learning_rate": 0.05,
    "num_leaves": 31,
    "min_data_in_leaf": 20,
    "verbose": -1,
    "seed": a.seed,
    "num_threads": 2,
}
model = lightgbm.train(options, train, 3000, valid_sets=[valid], callbacks=[lightgbm.early_stopping(50, verbose=False)])
training = time.perf_counter() - started
auc = roc_auc_score(frames["test"][info["labels"][0]], model.predict(frames["test"][columns]))
report(library="lightgbm", mode="fit", seed=a.seed, train=training, auc=auc, trees=model.best_iteration)
