import math

import pytest
import torch
from torch import nan, tensor

from rechub_cli import plugins

bce = plugins.load("losses", "bce")
mse = plugins.load("losses", "mse")


def test_bce_of_a_zero_logit_is_log_two():
    assert bce(tensor([[0.0], [0.0]]), tensor([[1.0], [0.0]])).item() == pytest.approx(math.log(2))


def test_bce_of_a_huge_wrong_logit_stays_finite():
    assert bce(tensor([[200.0]]), tensor([[0.0]])).item() == pytest.approx(200.0)


def test_mse_is_the_mean_of_squares():
    assert mse(tensor([[1.0], [5.0]]), tensor([[0.0], [2.0]])).item() == pytest.approx(5.0)


@pytest.mark.parametrize("loss", [bce, mse])
def test_a_masked_label_changes_neither_the_loss_nor_the_gradient(loss):
    values = tensor([[0.3], [-2.0], [1.5]], requires_grad=True)
    masked = loss(values, tensor([[1.0], [nan], [0.0]]))
    (gradient,) = torch.autograd.grad(masked, values)
    assert masked.item() == pytest.approx(loss(values[[0, 2]], tensor([[1.0], [0.0]])).item())
    assert gradient[1].item() == 0.0
    assert gradient[0].item() != 0.0


@pytest.mark.parametrize("loss", [bce, mse])
def test_all_labels_masked_gives_zero_and_no_gradient(loss):
    values = tensor([[0.3], [-2.0]], requires_grad=True)
    result = loss(values, tensor([[nan], [nan]]))
    (gradient,) = torch.autograd.grad(result, values)
    assert result.item() == 0.0
    assert gradient.tolist() == [[0.0], [0.0]]


@pytest.mark.parametrize("loss", [bce, mse])
def test_weights_count_like_repeated_rows_whatever_their_scale(loss):
    values, labels = tensor([[0.3], [-2.0]]), tensor([[1.0], [1.0]])
    repeated = loss(values[[0, 1, 1, 1]], labels[[0, 1, 1, 1]]).item()
    assert loss(values, labels, tensor([1.0, 3.0])).item() == pytest.approx(repeated)
    assert loss(values, labels, tensor([100.0, 300.0])).item() == pytest.approx(repeated)


@pytest.mark.parametrize("loss", [bce, mse])
def test_rows_that_weigh_the_same_give_the_loss_and_the_gradient_of_rows_without_weights(loss):
    values, labels = tensor([[0.3], [-2.0], [1.5]], requires_grad=True), tensor([[1.0], [0.0], [0.25]])
    plain, weighed = loss(values, labels), loss(values, labels, tensor([2.0, 2.0, 2.0]))
    assert plain.item() == pytest.approx(weighed.item())
    (wanted,), (gradient,) = torch.autograd.grad(plain, values), torch.autograd.grad(weighed, values)
    torch.testing.assert_close(gradient, wanted)


@pytest.mark.parametrize("loss", [bce, mse])
def test_no_rows_give_zero(loss):
    assert loss(torch.zeros(0, 1), torch.zeros(0, 1)).item() == 0.0


@pytest.mark.parametrize("loss", [bce, mse])
def test_half_precision_values_give_a_float32_loss(loss):
    assert loss(tensor([[0.3]], dtype=torch.bfloat16), tensor([[1.0]])).dtype == torch.float32
