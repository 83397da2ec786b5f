"""A product by another library is the same product."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from rechub_cli.nn import product
from rechub_cli.nn.linear import concat_linear


@pytest.fixture
def calls(monkeypatch):
    """Shapes that the other library multiplied."""
    if not product._has_onednn():
        pytest.skip("this torch has no oneDNN")
    found, own = [], product.product

    def counted(x, weight, bias=None):
        found.append((*x.shape, len(weight)))
        return own(x, weight, bias)

    monkeypatch.setattr(product, "product", counted)
    return found


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("width", [429, 432])
@pytest.mark.parametrize("part", [True, False], ids=["some columns", "all columns"])
def test_values_and_gradients_are_those_of_torch(width, part, bias, calls):
    torch.manual_seed(0)
    x = torch.randn(2048, width)
    weight = torch.randn(100, width + 7 if part else width)
    offset = torch.randn(100) if bias else None
    found = []
    for multiply in (F.linear, product.linear):
        leaves = [tensor.clone().requires_grad_() for tensor in (x, weight, offset) if tensor is not None]
        out = multiply(leaves[0], leaves[1][:, :width], *leaves[2:])
        out.square().sum().backward()
        found.append([out.detach(), *(leaf.grad for leaf in leaves)])
    assert calls == [(2048, width, 100), (2048, 100, width)]
    for expected, got in zip(*found, strict=True):
        assert_close(got, expected)
    with torch.inference_mode():
        assert_close(product.linear(x, weight[:, :width], offset), found[0][0])


def assert_close(got, expected):
    assert got.shape == expected.shape
    assert (got - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize("case", ["few rows", "narrow", "every other column", "float64"])
def test_what_is_not_quicker_is_left_to_torch(case, calls):
    x, weight = torch.randn(2048, 128), torch.randn(100, 128)
    if case == "few rows":
        x = x[:2047]
    elif case == "narrow":
        weight = weight[:8]
    elif case == "every other column":
        x, weight = x[:, ::2], weight[:, ::2]
    else:
        x, weight = x.double(), weight.double()
    assert torch.equal(product.linear(x, weight), F.linear(x, weight))
    assert not calls


def test_bf16_is_left_to_torch(calls):
    x, weight = torch.randn(2048, 128), torch.randn(100, 128)
    with torch.autocast("cpu", torch.bfloat16):
        assert product.linear(x, weight).dtype == torch.bfloat16
    assert not calls


def test_inputs_side_by_side_are_one_input(calls):
    torch.manual_seed(0)
    leaves = [torch.randn(*shape, requires_grad=True) for shape in ((2048, 416), (2048, 13), (100, 429))]
    found = []
    for joined in (True, False):
        flat, dense, weight = leaves
        out = F.linear(torch.cat([flat, dense], 1), weight) if joined else concat_linear([flat, dense], weight, None)
        found.append([out.detach().clone(), *torch.autograd.grad(out.square().mean(), leaves)])
    assert calls == [(2048, 416, 100), (2048, 100, 416)]
    for expected, got in zip(*found, strict=True):
        assert_close(got, expected)
