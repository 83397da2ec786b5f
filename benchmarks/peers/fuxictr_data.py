"""FuxiCTR's feature map, loaders and loop around a model of its layers; shared by its scripts."""

import json
import logging
import os
import tempfile

import numpy as np
import torch
from fuxictr.features import FeatureMap
from fuxictr.pytorch.dataloaders import RankDataLoader
from fuxictr.pytorch.torch_utils import seed_everything
from tables import meta, read

logging.disable(logging.CRITICAL)


class Session:
    """One data set under the library's own options. ``folder`` and ``work`` hold the rows and the feature map."""

    def __init__(self, a, task):
        seed_everything(a.seed)
        torch.set_num_threads(a.threads)
        self.a, self.folder, self.work = a, os.path.abspath(a.folder), tempfile.mkdtemp()
        self.options = dict(
            model_root=self.work,
            dataset_id="x",
            verbose=0,
            metrics=["AUC", "logloss"],
            monitor="AUC",
            monitor_mode="max",
            early_stop_patience=a.patience,
            task=task,
            embedding_regularizer=a.embedding_l2,
            net_regularizer=0,
            batch_size=a.batch,
            shuffle=True,
            data_format=a.format,
            num_workers=a.workers,
            gpu=0 if a.device == "cuda" else -1,
            seed=a.seed,
            embedding_dim=a.dim,
        )

    def describe(self):
        """The feature map of encoded columns."""
        info = meta(self.folder)
        features = [{column: {"source": "", "type": "numeric"}} for column in info["dense"]]
        for column, size in info["sparse"].items():
            features.append({column: {"source": "", "type": "categorical", "vocab_size": size, "padding_idx": 0}})
        for column, of in info["sequences"].items():
            sequence = {"type": "sequence", "vocab_size": info["sparse"][of], "padding_idx": 0}
            features.append(
                {
                    column: {
                        "source": "",
                        **sequence,
                        "max_len": self.a.length,
                        "share_embedding": of,
                        "feature_encoder": None,
                    }
                }
            )
        head = dict(dataset_id="x", num_fields=len(features), total_features=0, input_length=0)
        os.makedirs(f"{self.work}/x")
        with open(f"{self.work}/x/feature_map.json", "w") as file:
            json.dump({**head, "labels": info["labels"], "features": features}, file)

    def feature_map(self):
        found = FeatureMap("x", f"{self.work}/x")
        found.load(f"{self.work}/x/feature_map.json", self.options)
        return found

    def train_file(self):
        return self.file("train", self.a.rows)

    def file(self, split, rows=None):
        """The encoded rows in the format that is asked for."""
        if self.a.format == "npz":
            np.savez(f"{self.work}/{split}.npz", **columns(read(self.folder, split, rows)))
            return f"{self.work}/{split}.npz"
        if not rows:
            return f"{self.folder}/{split}.parquet"
        read(self.folder, split, rows).to_parquet(f"{self.work}/{split}.parquet")
        return f"{self.work}/{split}.parquet"

    def train_loader(self, feature_map, valid=None):
        """(train, valid)"""
        return RankDataLoader(
            feature_map, stage="train", train_data=self.train_file(), valid_data=valid, **self.options
        )

    def test_loader(self, feature_map, file=None):
        test = file or self.file("test")
        return RankDataLoader(feature_map, stage="test", test_data=test, **self.options)


def columns(frame):
    """Arrays, of sequences too."""
    lists = {name for name in frame if frame[name].dtype == object}
    return {name: np.stack(frame[name].to_numpy()) if name in lists else frame[name].to_numpy() for name in frame}


def train_epoch(model, train):
    """One epoch of the library's loop, without the validation that ``fit`` does."""
    model._max_gradient_norm, model._eval_steps, model._total_steps = 10.0, 10**9, 0
    model._stop_training = False
    model._epoch_index = model._batch_index = 0
    model.train_epoch(train)
