"""Factorization machines and cross networks against their formulas, written out."""

import itertools

import pytest
import torch

from rechub_cli.nn.cross import CrossNet, CrossNetV2, LowRankCrossNet
from rechub_cli.nn.fm import FM, bi_interaction


def pairs(fields):
    return sum((a * b for a, b in itertools.combinations(fields.unbind(1), 2)), torch.zeros_like(fields[:, 0]))


@pytest.mark.parametrize("n_fields", [1, 2, 5])
def test_fm_sums_the_dot_products_of_all_pairs(n_fields):
    fields = torch.randn(6, n_fields, 3)
    torch.testing.assert_close(FM(3)(bi_interaction(fields)), pairs(fields).sum(1, keepdim=True), atol=1e-5, rtol=1e-5)


def test_fm_has_the_gradient_of_its_formula():
    fields = torch.randn(3, 4, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda given: FM(2)(bi_interaction(given)), fields)


def test_fm_for_two_tasks_starts_as_the_same_sum_for_both():
    fields = torch.randn(6, 5, 3)
    interaction = bi_interaction(fields)
    both, one = FM(3, n_tasks=2)(interaction), FM(3)(interaction)
    torch.testing.assert_close(both, one.expand(6, 2), atol=1e-5, rtol=1e-5)


def test_cross_net_equals_its_layers_one_after_another():
    net = CrossNet(5, 3)
    torch.nn.init.normal_(net.bias)
    x0 = x = torch.randn(4, 5)
    for weight, bias in zip(net.weight, net.bias, strict=True):
        x = x0 * (x @ weight)[:, None] + bias + x
    torch.testing.assert_close(net(x0), x)


def test_cross_net_v2_equals_its_layers_one_after_another():
    net = CrossNetV2(5, 2)
    x0 = x = torch.randn(4, 5)
    for layer in net.layers:
        torch.nn.init.normal_(layer.bias)
        x = x0 * (x @ layer.weight.T + layer.bias) + x
    torch.testing.assert_close(net(x0), x)


def test_one_low_rank_expert_is_a_cross_layer_with_a_factored_matrix():
    net, full = LowRankCrossNet(5, 1, rank=2), CrossNetV2(5, 1)
    layer = net.layers[0]
    torch.nn.init.normal_(layer.bias)
    full.layers[0].weight.data = layer.up.T @ layer.down
    full.layers[0].bias.data = layer.bias
    x = torch.randn(4, 5)
    torch.testing.assert_close(net(x), full(x))


def test_a_mixture_weighs_its_experts_by_the_gate():
    net = LowRankCrossNet(4, 1, rank=2, n_experts=3)
    layer = net.layers[0]
    torch.nn.init.normal_(layer.bias)
    x = torch.randn(6, 4)
    gate = (x @ layer.gate.weight.T).softmax(1)
    expected = x
    for k in range(3):
        v, u = layer.down[2 * k : 2 * k + 2], layer.up[2 * k : 2 * k + 2]
        inner = torch.tanh(torch.tanh(x @ v.T) @ layer.core[k].T)
        expected = expected + gate[:, k : k + 1] * (x * (inner @ u + layer.bias))
    torch.testing.assert_close(net(x), expected)
    assert net(x[:1]).shape == (1, 4)
