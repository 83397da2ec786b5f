"""A small task beside one whose loss is a hundred times its own."""

import pytest
import torch
from mtl_toys import TwoTowers, batch
from trainer_toys import Ear

from rechub_cli import MTLTrainer


def planted(n, seed):
    """Two tasks of the same difficulty on different inputs; the labels of the first are ten times as large."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 8, generator=generator)
    noise = 0.5 * torch.randn(n, 2, generator=generator)
    first, second = (torch.tanh(2 * p[0]) + torch.sin(2 * p[1]) + p[2] * p[3] for p in x.T.split(4))
    y = torch.stack([first, second], dim=1) + noise
    return x, y * torch.tensor([10.0, 1.0])


def loader(n, seed, tasks):
    x, y = planted(n, seed)
    return [batch(x[i : i + 256], y[i : i + 256, tasks]) for i in range(0, n, 256)]


def error(tmp_path, tasks, params=None):
    """Of the small task, on new rows."""
    torch.manual_seed(0)
    trainer = MTLTrainer(
        TwoTowers(len(tasks), width=8, hidden=96),
        ["regression"] * len(tasks),
        optimizer_params={"lr": 3e-3},
        adaptive_params=params,
        earlystop_taskid=len(tasks) - 1,
        n_epoch=1,
        model_path=str(tmp_path),
        watcher=Ear(),
    )
    trainer.fit(loader(4096, 0, tasks) * 60)
    return trainer.evaluate(trainer.model, loader(4096, 1, tasks))[-1]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return error(tmp_path_factory.mktemp("alone"), [1])


def test_equal_weights_lose_the_small_task(alone, tmp_path):
    assert error(tmp_path, [0, 1]) > 1.5 * alone


@pytest.mark.parametrize("params", [{"method": "gradnorm"}, {"method": "metabalance", "relax_factor": 1.0}])
def test_balanced_gradients_learn_it_as_well_as_alone(params, alone, tmp_path):
    assert error(tmp_path, [0, 1], params) < 1.05 * alone
