"""Wrong parameters, loaders and devices are told, each in one message."""

import math

import pytest
import torch
from torch import nn
from trainer_toys import Constant, Ear, Foreign, Native, batch, batches, pairs

from rechub_cli import CTRTrainer
from rechub_cli.batch import Output
from rechub_cli.errors import CannotCreate, DataError, RunFailed, SpecError, Unavailable
from rechub_cli.schema import Task


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"monitor": "aucc"}, "aucc"),
        ({"monitor": "calibration"}, "cannot be monitored"),
        ({"metrics": ["rmse", "auc"], "tasks": [Task("r", type="regression")]}, "metric auc is for classification"),
        ({"loss": "bcee"}, "bcee"),
        ({"precision": "fp16"}, "fp32 or bf16"),
        ({"device": "gpu"}, "'gpu' is not known"),
        ({"optimizer_params": {"learning_rate": 1.0}}, "learning_rate"),
        ({"scheduler_params": {"step": "day"}}, "'batch' or 'epoch'"),
        ({"regularization_params": {"l2": 0.1}}, "'l2' is not known"),
        ({"tasks": [Task("a"), Task("b")]}, "one label, not 2"),
    ],
)
def test_a_wrong_parameter_is_told_at_once(options, message):
    with pytest.raises(SpecError, match=message):
        CTRTrainer(Native(), **options)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
@pytest.mark.parametrize("where", [{"device": "cuda:0"}, {"gpus": [0]}, {"gpus": [0, 1]}])
def test_a_gpu_that_is_not_there_is_told(where):
    with pytest.raises(Unavailable, match="GPU 0 is not there"):
        CTRTrainer(Native(), **where)


@pytest.mark.parametrize(
    ("loader", "message"),
    [
        ([], "loader is empty"),
        ([batch(torch.zeros(2, 3))], "no labels"),
        ([({"x": torch.zeros(2, 3)}, torch.zeros(3))], r"2 rows with labels of shape \(3,\)"),
        ([({"x": torch.zeros(2, 3)}, torch.zeros(2, 2))], "one label"),
        ([({"x": torch.zeros(2, 3)}, torch.tensor([1, 5]))], "labels are outside 0..1: .*regression"),
        (["rows"], "must yield"),
    ],
)
def test_a_loader_that_cannot_be_trained_on_is_told(loader, message):
    model = Native() if loader and not isinstance(loader[0], tuple | str) else Foreign()
    with pytest.raises(DataError, match=message):
        CTRTrainer(model).fit(loader)


def test_predictions_that_are_not_numbers_are_told_rather_than_measured():
    trainer = CTRTrainer(Constant(math.nan))
    with pytest.raises(RunFailed, match="400 of 400 predictions are not finite"):
        trainer.evaluate(trainer.model, batches())


def test_a_model_path_that_cannot_be_made_is_told_before_training(tmp_path):
    (tmp_path / "file").write_text("")
    ear = Ear()
    trainer = CTRTrainer(Foreign(), model_path=str(tmp_path / "file" / "out"), watcher=ear)
    with pytest.raises(CannotCreate, match=r"model\.pth"):
        trainer.fit(pairs())
    assert ear.steps == []


def test_a_tuple_with_loss_mode_true_is_explained():
    class Two(Foreign):
        def forward(self, x):
            return super().forward(x), torch.tensor(0.0)

    with pytest.raises(SpecError, match="loss_mode=False"):
        CTRTrainer(Two()).train_one_epoch(pairs())


@pytest.mark.parametrize("shape", [(64,), (1, 1)])
def test_logits_of_another_shape_are_explained(shape):
    class Flat(Constant):
        def forward(self, batch):
            return Output(self.logit.expand(shape))

    with pytest.raises(SpecError, match=r"logits of shape \(.*\) for 64 rows, not \(rows, labels\)"):
        CTRTrainer(Flat()).train_one_epoch(batches())


def test_a_foreign_module_that_returns_logits_is_explained():
    class Logits(nn.Module):
        def __init__(self):
            super().__init__()
            self.out = nn.Linear(3, 1)

        def forward(self, x):
            return 9 * self.out(x["x"])

    with pytest.raises(SpecError, match="must return probabilities"):
        CTRTrainer(Logits()).train_one_epoch(pairs())
