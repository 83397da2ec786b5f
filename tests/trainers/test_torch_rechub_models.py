"""Torch-RecHub's own ranking models, unchanged, under our CTRTrainer."""

import warnings

import pytest
import torch
from trainer_toys import Ear

from rechub_cli import CTRTrainer

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    ranking = pytest.importorskip("torch_rechub.models.ranking", reason="needs the torch-rechub extra")
    from torch_rechub.basic.features import DenseFeature, SequenceFeature, SparseFeature

VOCABULARY, LENGTH = 8, 6


def sparse(names="abc", dim=8, vocabulary=VOCABULARY):
    return [SparseFeature(name, vocab_size=vocabulary, embed_dim=dim) for name in names]


def dense():
    return [DenseFeature("price")]


def history(name="hist_a"):
    return [SequenceFeature(name, vocab_size=VOCABULARY, embed_dim=8, pooling="concat", shared_with="a")]


MLP = {"dims": [16], "dropout": 0.0, "activation": "relu"}
MODELS = {
    "WideDeep": lambda: ranking.WideDeep(dense(), sparse(), MLP),
    "DeepFM": lambda: ranking.DeepFM(dense() + sparse(), sparse(), MLP),
    "DCN": lambda: ranking.DCN(dense() + sparse(), n_cross_layers=2, mlp_params={"dims": [16]}),
    "DCNv2": lambda: ranking.DCNv2(dense() + sparse(), n_cross_layers=2, mlp_params={"dims": [16]}),
    "EDCN": lambda: ranking.EDCN(dense() + sparse(), n_cross_layers=2, mlp_params={}),
    "AFM": lambda: ranking.AFM(sparse(), embed_dim=8),
    "FiBiNet": lambda: ranking.FiBiNet(sparse(), MLP),
    "DeepFFM": lambda: ranking.DeepFFM(sparse(dim=1), sparse(vocabulary=3 * VOCABULARY), 8, MLP),
    "FatDeepFFM": lambda: ranking.FatDeepFFM(sparse(dim=1), sparse(vocabulary=3 * VOCABULARY), 8, 2, MLP),
    "AutoInt": lambda: ranking.AutoInt(sparse(), dense(), mlp_params=MLP),
    "BST": lambda: ranking.BST(sparse("bc"), history(), sparse("a"), MLP, max_seq_len=LENGTH + 1),
    "DIN": lambda: ranking.DIN(sparse("bc"), history(), sparse("a"), {"dims": [16]}, {"dims": [8]}),
    "DIEN": lambda: ranking.DIEN(sparse("bc"), history(), history("neg_hist_a"), sparse("a"), {"dims": [16]}),
}


@pytest.fixture(scope="module")
def data():
    """513 rows: the last batch of 64 has one row. The label is whether two ids are equally odd."""
    generator = torch.Generator().manual_seed(0)

    def ids(*shape):
        return torch.randint(1, VOCABULARY, shape, generator=generator)

    x = {name: ids(513) for name in "abc"}
    x |= {"hist_a": ids(513, LENGTH), "neg_hist_a": ids(513, LENGTH), "price": torch.rand(513, generator=generator)}
    return x, ((x["a"] + x["b"]) % 2 == 0).float()


@pytest.mark.filterwarnings("ignore:enable_nested_tensor is True")  # BST's own
@pytest.mark.parametrize("name", MODELS)
def test_upstreams_model_trains_scores_and_saves(name, data, tmp_path):
    torch.manual_seed(0)
    x, y = data
    loader = [({k: v[i : i + 64] for k, v in x.items()}, y[i : i + 64]) for i in range(0, 513, 64)]
    ear = Ear()
    trainer = CTRTrainer(
        MODELS[name](),
        optimizer_params={"lr": 0.02},
        n_epoch=12,
        earlystop_patience=12,
        loss_mode=name != "DIEN",
        model_path=str(tmp_path),
        watcher=ear,
    )
    trainer.fit(loader, loader)
    assert ear.epochs[-1].train_loss < 0.9 * ear.epochs[0].train_loss
    assert trainer.evaluate(trainer.model, loader) > 0.8
    scores = trainer.predict(trainer.model, loader)
    assert len(scores) == 513
    assert all(0 <= score <= 1 for score in scores)

    fresh = MODELS[name]()
    fresh.load_state_dict(torch.load(tmp_path / "model.pth", weights_only=True))
    assert trainer.predict(fresh, loader) == scores
