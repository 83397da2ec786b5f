"""The layers of deep towers."""

import pytest
import torch
from torch import nn

from rechub_cli.errors import SpecError
from rechub_cli.nn.activation import activation
from rechub_cli.nn.dice import Dice
from rechub_cli.nn.dropout import Dropout
from rechub_cli.nn.linear import ConcatLinear, LogitHead, NormedLinear
from rechub_cli.nn.mlp import MLP
from rechub_cli.nn.norm import BatchNorm


def test_concat_linear_is_a_linear_layer_over_the_concatenation():
    layer = ConcatLinear(6, 3)
    nn.init.normal_(layer.bias)
    parts = [torch.randn(4, 2), torch.randn(4, 0), torch.randn(4, 3), torch.randn(4, 1)]
    joined = torch.cat(parts, dim=1).requires_grad_()
    expected = nn.functional.linear(joined, layer.weight, layer.bias)
    expected.square().sum().backward()
    expected_grad, layer.weight.grad = layer.weight.grad, None
    parts = [part.requires_grad_() for part in parts]
    output = layer(*parts)
    output.square().sum().backward()
    torch.testing.assert_close(output, expected)
    torch.testing.assert_close(layer.weight.grad, expected_grad)
    torch.testing.assert_close(torch.cat([part.grad for part in parts if part.numel()], dim=1), joined.grad)


def test_mlp_orders_linear_norm_activation_dropout_and_ends_linear():
    mlp = MLP(5, [4, 3], 2, batch_norm=True, dropout=0.5)
    kinds = [type(layer) for layer in mlp.hidden]
    assert kinds == [NormedLinear, nn.Identity, Dropout] * 2  # the norm's own ReLU
    assert all(layer.norm.relu for layer in mlp.hidden[::3])
    assert mlp(torch.randn(7, 5)).shape == (7, 2)
    assert (mlp.out_dim, MLP(5, [4, 3]).out_dim, MLP(5, []).out_dim) == (2, 3, 5)


def test_mlp_without_hidden_layers_is_linear():
    mlp = MLP(3, [], 1)
    a, b = torch.randn(1, 3), torch.randn(1, 3)
    torch.testing.assert_close(mlp(a + b), mlp(a) + mlp(b))


def test_normed_linear_is_a_linear_layer_and_its_batch_norm_in_training_and_in_evaluation():
    layer, norm = NormedLinear(4, 3), nn.BatchNorm1d(3)
    for parameter in (layer.norm.weight, layer.norm.bias):
        nn.init.normal_(parameter)
    norm.load_state_dict(layer.norm.state_dict())
    for mode in (True, True, False):
        x = torch.randn(16, 4) * 3 + 1
        layer.train(mode)
        norm.train(mode)
        torch.testing.assert_close(layer(x[:, :1], x[:, 1:]), norm(x @ layer.weight.T), atol=1e-5, rtol=1e-5)


def test_logit_head_answers_in_float32_under_autocast():
    head, x = LogitHead(8, 1), torch.randn(4, 8)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(head(x), head.float()(x))
        assert head(x.bfloat16()).dtype == torch.float32


@pytest.mark.parametrize("rows", [0, 1])
def test_batch_norm_falls_back_to_running_statistics_where_a_batch_has_no_variance(rows):
    norm = BatchNorm(3)
    norm(torch.randn(64, 3) * 2 + 1)
    mean = norm.running_mean.clone()
    x = torch.randn(rows, 3, requires_grad=True)
    output = norm(x)
    output.sum().backward()
    assert torch.equal(norm.running_mean, mean)
    torch.testing.assert_close(output, norm.eval()(x))
    assert x.grad.shape == (rows, 3)


def test_dropout_drops_its_share_and_keeps_the_mean():
    torch.manual_seed(0)
    x = torch.ones(1000, 999, requires_grad=True)  # not a whole number of 8-byte words
    output = Dropout(0.3)(x)
    kept = output != 0
    assert kept.float().mean().item() == pytest.approx(0.7, abs=0.005)
    assert output.mean().item() == pytest.approx(1, abs=0.005)
    assert (kept.float().mean(0) > 0.6).all()  # no column is treated differently
    assert (kept.float().mean(1) > 0.6).all()
    output.sum().backward()
    assert torch.equal(x.grad, output.detach())


def test_dropout_repeats_after_a_seed_and_is_off_in_evaluation():
    dropout, x = Dropout(0.5), torch.randn(64, 10)
    torch.manual_seed(1)
    first = dropout(x)
    second = dropout(x)
    torch.manual_seed(1)
    assert torch.equal(first, dropout(x))
    assert not torch.equal(first, second)
    assert torch.equal(dropout.eval()(x), x)


def test_dropout_of_a_tiny_share_still_drops():
    torch.manual_seed(0)
    assert 0 < (Dropout(0.001)(torch.ones(1000, 100)) == 0).float().mean() < 0.01


def test_dice_passes_likely_values_and_scales_the_others_by_alpha():
    dice = Dice(1).eval()
    dice.alpha.data.fill_(0.25)
    x = torch.tensor([[100.0], [-100.0], [0.0]])
    torch.testing.assert_close(dice(x), torch.tensor([[100.0], [-25.0], [0.0]]))


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "prelu", "gelu", "silu", "tanh", "sigmoid", "dice"])
def test_activations_keep_the_shape(name):
    assert activation(name, 3)(torch.randn(5, 3)).shape == (5, 3)


def test_an_unknown_activation_names_those_there_are():
    with pytest.raises(SpecError, match=r"no activation called 'rellu'; known: relu, .*dice"):
        activation("rellu", 3)


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("rows", [2, 5])
def test_a_norm_under_a_mask_is_the_norm_of_the_rows_in_it(rows, affine):
    norms = [BatchNorm(3, affine=affine), BatchNorm(3, affine=affine)]
    x = torch.randn(7, 3)
    for _ in range(2):
        masked = norms[0](x, torch.arange(7) < rows)
        torch.testing.assert_close(masked[:rows], norms[1](x[:rows]))
    torch.testing.assert_close(dict(norms[0].named_buffers()), dict(norms[1].named_buffers()))


@pytest.mark.parametrize("rows", [0, 1])
def test_a_norm_whose_mask_leaves_no_variance_uses_its_running_statistics(rows):
    norm = BatchNorm(3)
    before = {name: buffer.clone() for name, buffer in norm.named_buffers()}
    x = torch.randn(4, 3)
    torch.testing.assert_close(norm(x, torch.arange(4) < rows), x, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(dict(norm.named_buffers()), before)
