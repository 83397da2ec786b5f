"""Small data, and specs that use whatever has a state: what a killed training must find again."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

HEAD = """\
data: {{train: log.parquet, valid: valid.parquet, test: test.parquet{data}}}
embed_dim: 4
features:
  user_id: {{type: sparse}}
  item_id: {{type: sparse, id_dropout: 0.1, tower: item}}
  city: {{type: sparse}}
  price: {{type: dense, tower: item}}
{features}
user: user_id
item: item_id
time: ts
trainer:
  n_epoch: 3
  batch_size: 64
  optimizer_params: {lr}
  device: cpu
  earlystop_patience: 9
  checkpoint_every_steps: 5
{trainer}
"""
CLICK = "labels: {click: {type: classification}}\n"
BOTH = "labels: {click: {type: classification}, buy: {type: classification}}\n"
PAST = "  past: {type: history, of: item_id, max_len: 6}\n"


def world(more: str, features: str = "", trainer: str = "", data: str = "", lr: str = "{lr: 0.02}") -> str:
    lines = [f"  {line}" for line in trainer.split("; ") if line]
    return HEAD.format(features=features, trainer="\n".join(lines), data=data, lr=lr) + more


def ctr(params: str = "hidden_dims: [8], dropout: 0.3", **parts: str) -> str:
    return world(CLICK + "model: {name: deepfm, params: {" + params + "}}\n", **parts)


def mtl(method: str, model: str = "mmoe", **parts: str) -> str:
    trainer = f"adaptive_params: {{{method}}}; scheduler: CosineAnnealingLR; scheduler_params: {{T_max: 3}}"
    return world(BOTH + "model: {name: " + model + ", params: {}}\n", trainer=trainer, **parts)


def match(model: str, trainer: str, **parts: str) -> str:
    return world(CLICK + "model: {name: " + model + ", params: {}}\n", trainer=trainer, **parts)


# command -> name -> spec
WORLDS: dict[str, dict[str, str]] = {
    "train-ctr": {
        "steps": ctr(trainer="eval_every_steps: 7; scheduler: OneCycleLR; scheduler_params: {max_lr: 0.05}"),
        "stream": ctr(
            data=", cache: off", trainer="scheduler: ReduceLROnPlateau; scheduler_params: {patience: 0, factor: 0.5}"
        ),
        "history": ctr(
            features=PAST,
            trainer="embedding_optimizer: {name: rowwise_adagrad, lr: 0.1}; scheduler: StepLR;"
            " scheduler_params: {step_size: 1}; clip_norm: 1.0",
        ),
        "lazy": ctr(
            trainer="embedding_optimizer: {name: lazy_adam, l2: 1e-3}; optimizer: sgd; checkpoint_every_minutes: 0.001",
            lr="{lr: 0.1, momentum: 0.9}",
        ),
    },
    "train-mtl": {
        "uwl": mtl("method: uwl"),
        "gradnorm": mtl("method: gradnorm, alpha: 1.0", model="ple"),
        "dwa": mtl("method: dwa", model="shared_bottom"),
        "metabalance": mtl("method: metabalance", model="shared_bottom"),
        "pcgrad": mtl("method: pcgrad", model="shared_bottom"),
        "stch": mtl("method: stch", model="esmm"),
    },
    "train-match": {
        "in_batch": match("dssm", "eval_every_steps: 9; negatives: in_batch"),
        "sampled": match("youtube_dnn", "negatives: {name: popularity, n: 8}", features=PAST),
        "pairs": match("dssm", "mode: pairwise; negatives: {name: uniform, n: 3}"),
        "points": match("dssm", "mode: pointwise; scheduler: StepLR; scheduler_params: {step_size: 1}"),
        "sequence": match("sasrec", "negatives: {name: mixed, n: 8}", features=PAST),
        "interests": match("comirec_dr", "", features=PAST),
    },
}


def log(rng: np.random.Generator, n: int, start: int) -> pa.Table:
    """Users of even numbers click and buy more; the later the row, the later its time."""
    user, item = rng.integers(0, 40, n), rng.integers(0, 30, n)
    click = rng.random(n) < np.where((user + item) % 2 == 0, 0.8, 0.2)
    return pa.table(
        {
            "user_id": [f"u{number}" for number in user],
            "item_id": item,
            "city": [f"c{number % 5}" for number in user],
            "price": rng.lognormal(size=30)[item],
            "ts": np.arange(start, start + n) * 60,
            "click": click.astype(np.int64),
            "buy": (click & (rng.random(n) < 0.5)).astype(np.int64),
        }
    )


def make(folder: Path) -> None:
    """The data and all specs, as ``<command>-<name>.yaml``."""
    rng = np.random.default_rng(5)
    folder.mkdir(parents=True, exist_ok=True)
    start = 0
    for name, n in (("log", 1000), ("valid", 200), ("test", 200)):
        pq.write_table(log(rng, n, start), folder / f"{name}.parquet")
        start += n
    for command, specs in WORLDS.items():
        for name, text in specs.items():
            (folder / f"{command}-{name}.yaml").write_text(text)
