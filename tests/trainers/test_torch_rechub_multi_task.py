"""Torch-RecHub's own multi-task models, unchanged, under our MTLTrainer."""

import warnings

import pytest
import torch
from trainer_toys import Ear

from rechub_cli import MTLTrainer

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    models = pytest.importorskip("torch_rechub.models.multi_task", reason="needs the torch-rechub extra")
    from torch_rechub.basic.features import DenseFeature, SparseFeature

TYPES = ["classification", "classification"]
TOWERS = [{"dims": [8]}, {"dims": [8]}]
BOTTOM = {"dims": [16]}


def features():
    return [SparseFeature(name, vocab_size=8, embed_dim=8) for name in "abc"] + [DenseFeature("price")]


MODELS = {
    "SharedBottom": lambda: models.SharedBottom(features(), TYPES, BOTTOM, TOWERS),
    "MMOE": lambda: models.MMOE(features(), TYPES, 3, BOTTOM, TOWERS),
    "PLE": lambda: models.PLE(features(), TYPES, 2, 1, 1, BOTTOM, TOWERS),
    "AITM": lambda: models.AITM(features(), 2, BOTTOM, TOWERS),
}
METHODS = [{"method": "uwl"}, {"method": "metabalance"}, {"method": "gradnorm", "alpha": 0.16}]


@pytest.fixture(scope="module")
def data():
    """257 rows: the last batch of 64 has one row. Two labels that ids decide."""
    generator = torch.Generator().manual_seed(0)
    x = {name: torch.randint(1, 8, (257,), generator=generator) for name in "abc"}
    x |= {"price": torch.rand(257, generator=generator)}
    click = (x["a"] + x["b"]) % 2 == 0
    return x, torch.stack([click, click & (x["c"] > 4)], dim=1).float()


def loader(data, labels=True):
    x, y = data
    parts = [({k: v[i : i + 64] for k, v in x.items()}, y[i : i + 64]) for i in range(0, 257, 64)]
    return parts if labels else [part for part, _ in parts]


@pytest.mark.parametrize("params", METHODS, ids=lambda params: params["method"])
@pytest.mark.parametrize("name", MODELS)
def test_upstreams_model_trains_with_each_of_its_methods(name, params, data, tmp_path):
    torch.manual_seed(0)
    ear = Ear()
    trainer = MTLTrainer(
        MODELS[name](),
        task_types=TYPES,
        optimizer_params={"lr": 0.02},
        adaptive_params=params,
        scheduler_fn=torch.optim.lr_scheduler.ExponentialLR,
        scheduler_params={"gamma": 0.99},
        n_epoch=10,
        earlystop_patience=10,
        model_path=str(tmp_path),
        watcher=ear,
    )
    log = trainer.fit(loader(data), loader(data), mode=params["method"], seed=3)
    assert [len(epoch) for epoch in log] == [4] * 10
    assert log[-1][0] < 0.9 * log[0][0]
    assert min(trainer.evaluate(trainer.model, loader(data))) > 0.8
    weights = [tuple(epoch.task_weights.values()) for epoch in ear.epochs]
    assert len(set(weights)) > 5  # they move
    shared = {id(parameter) for parameter in trainer.shared.parameters} if params["method"] != "uwl" else set()
    for part, parameter in trainer.model.named_parameters():
        if part.startswith(("towers", "gates", "tower", "aits")):
            assert id(parameter) not in shared
        if part.startswith("embedding") and shared:
            assert id(parameter) in shared

    scores = trainer.predict(trainer.model, loader(data, labels=False))
    assert (len(scores), len(scores[0])) == (257, 2)
    assert scores == trainer.predict(trainer.model, loader(data))
    fresh = MODELS[name]()
    fresh.load_state_dict(torch.load(tmp_path / f"model_{params['method']}_3.pth", weights_only=True))
    assert trainer.predict(fresh, loader(data)) == scores


def test_upstreams_esmm_trains_on_its_two_losses(data, tmp_path):
    torch.manual_seed(0)
    users, items = features()[:2], features()[2:3]
    model = models.ESMM(users, items, BOTTOM, BOTTOM)
    rows = [(part, torch.cat([part_y[:, 1:], part_y], dim=1)) for part, part_y in loader(data)]  # cvr, ctr, ctcvr
    trainer = MTLTrainer(
        model,
        ["classification"] * 3,
        optimizer_params={"lr": 0.02},
        adaptive_params={"method": "static", "weights": [0, 1, 1]},
        earlystop_taskid=1,
        n_epoch=10,
        model_path=str(tmp_path),
    )
    log = trainer.fit(rows, rows)
    assert log[-1][2] < 0.9 * log[0][2]
    assert trainer.evaluate(model, rows)[2] > 0.8
