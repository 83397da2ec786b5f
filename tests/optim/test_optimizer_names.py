import pytest
import torch

from rechub_cli.errors import SpecError
from rechub_cli.optim import optimizer, scheduler


def test_names_are_those_of_torch_in_any_case() -> None:
    assert optimizer("adamw") is torch.optim.AdamW
    assert optimizer("SGD") is torch.optim.SGD
    assert scheduler("steplr") is torch.optim.lr_scheduler.StepLR
    assert scheduler("ReduceLROnPlateau") is torch.optim.lr_scheduler.ReduceLROnPlateau


def test_an_unknown_name_is_an_error_with_a_suggestion() -> None:
    with pytest.raises(SpecError, match=r"Unknown optimizer 'adamm'. Did you mean Adam"):
        optimizer("adamm")
    with pytest.raises(SpecError, match=r"Unknown scheduler 'StepLRR'. Did you mean StepLR\? Known: .*OneCycleLR"):
        scheduler("StepLRR")


@pytest.mark.parametrize("name", ["LBFGS", "SparseAdam", "Optimizer"])
def test_optimizers_that_cannot_train_a_model_by_themselves_are_unknown(name: str) -> None:
    with pytest.raises(SpecError):
        optimizer(name)


@pytest.mark.parametrize("name", ["LambdaLR", "SequentialLR", "LRScheduler"])
def test_schedulers_that_need_more_than_values_are_unknown(name: str) -> None:
    with pytest.raises(SpecError):
        scheduler(name)
