"""bf16 where the processor multiplies it, fp32 where it does not."""

import pytest
import torch
from match_toys import TwoTowers, catalogue
from trainer_toys import Ear, Native, batches

from rechub_cli import CTRTrainer, MatchTrainer
from rechub_cli.errors import SpecError
from rechub_cli.trainers import precision


@pytest.fixture
def without_bf16(monkeypatch):
    monkeypatch.setattr(precision, "has_bf16", lambda: False)


def learnt(wanted, ear):
    torch.manual_seed(0)
    trainer = CTRTrainer(Native(), n_epoch=1, seed=1, precision=wanted, watcher=ear)
    trainer.train_one_epoch(batches())
    return trainer.model.state_dict()


def test_a_cpu_without_bf16_learns_in_fp32_and_says_so_once(without_bf16):
    asked, ear = Ear(), Ear()
    fallen_back, fp32 = learnt("bf16", asked), learnt("fp32", ear)
    assert all(torch.equal(value, fp32[name]) for name, value in fallen_back.items())
    ((level, event, text),) = asked.messages
    assert (level, event) == ("warn", "warning")
    assert "no products of bfloat16" in text
    assert ear.messages == []


def test_two_towers_fall_back_too(without_bf16):
    ear = Ear()
    trainer = MatchTrainer(TwoTowers(), catalogue=catalogue(), precision="bf16", watcher=ear)
    assert trainer.towers.precision == "fp32"
    assert not trainer.towers.ranker.bf16
    assert len([text for _, _, text in ear.messages if "no products of bfloat16" in text]) == 1


def test_bf16_is_kept_where_it_is(monkeypatch):
    monkeypatch.setattr(precision, "has_bf16", lambda: True)
    assert precision.usable_precision("bf16", torch.device("cpu")) == "bf16"


def test_a_gpu_is_not_asked(without_bf16):
    assert precision.usable_precision("bf16", torch.device("cuda")) == "bf16"


def test_another_precision_is_refused():
    with pytest.raises(SpecError, match="fp32 or bf16, not 'fp8'"):
        precision.usable_precision("fp8", torch.device("cpu"))
