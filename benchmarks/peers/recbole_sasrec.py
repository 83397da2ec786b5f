"""RecBole's own SASRec under its own trainer: a row for every event, the full softmax over all items."""

import os
import sys
import tempfile
import time

started = time.perf_counter()
import numpy as np

# Names that the library uses and NumPy no longer has.
for name, kind in (("bool8", np.bool_), ("float_", np.float64), ("complex_", np.complex128), ("unicode_", np.str_)):
    if not hasattr(np, name):
        setattr(np, name, kind)
import torch
from options import options
from tables import Clock, read, report

a = options(__doc__, ["loop"], ["sasrec"])
sys.argv = sys.argv[:1]  # the library reads it too
load = torch.load
torch.load = lambda *given, **more: load(*given, **{**more, "weights_only": False})
torch.set_num_threads(a.threads)

from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.utils import init_seed
from recbole.utils.utils import get_model, get_trainer

clock = Clock()
work = tempfile.mkdtemp()
os.makedirs(f"{work}/films")
log = read(a.folder, "train", a.rows)
log = log.rename(columns={"user_id": "user_id:token", "item_id": "item_id:token", "pos": "timestamp:float"})
log.to_csv(f"{work}/films/films.inter", sep="\t", index=False)
config = Config(
    model="SASRec",
    dataset="films",
    config_dict={
        "data_path": work,
        "checkpoint_dir": work,
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "MAX_ITEM_LIST_LENGTH": a.length,
        "train_batch_size": a.batch,
        "hidden_size": a.dim,
        "inner_size": a.dim,
        "n_layers": a.blocks,
        "n_heads": 1,
        "hidden_dropout_prob": a.dropout,
        "attn_dropout_prob": a.dropout,
        "epochs": 1,
        "train_neg_sample_args": None,
        "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "full"},
        "use_gpu": False,
        "gpu_id": "",
        "device": "cpu",
        "state": "ERROR",
        "show_progress": False,
        "seed": a.seed,
    },
)
init_seed(a.seed, True)
train, _, _ = data_preparation(config, create_dataset(config))
model = get_model("SASRec")(config, train.dataset)
trainer = get_trainer(config["MODEL_TYPE"], "SASRec")(config, model)
prepare = clock.lap()
trainer._train_epoch(train, 0, show_progress=False)
training = clock.lap()
rows = len(train._dataset)
total = time.perf_counter() - started
report(rows=rows, prepare=prepare, train=training, rows_per_s=rows / training, total=total)
