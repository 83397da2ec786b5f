"""The compiled loops of target attention and Dice beside torch's own operators."""

import pytest
import torch

from rechub_cli.batch import Jagged
from rechub_cli.kernels import loops
from rechub_cli.nn.dice import Dice
from rechub_cli.nn.pairs import Pairs

pytestmark = pytest.mark.skipif(loops.library() is None, reason="no compiled loops here")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    ("n", "width"), [(1000, 36), (1, 36), (0, 5), (2, 1), (700, 7), (129, 16), (515, 200), (15, 3)]
)
def test_dice_and_its_gradients_are_those_of_torch_in_float64(n, width, training, dtype):
    torch.manual_seed(0)
    x = (torch.randn(n, width) * (0.1 + torch.rand(width)) * 9 + torch.randn(width) * 3).to(dtype)
    grad = torch.randn(n, width).to(dtype)

    def made(kind):
        layer, values = Dice(width).train(training), x.detach().to(kind).requires_grad_()
        with torch.no_grad():
            layer.alpha.copy_(torch.linspace(-0.5, 1.5, width))
            layer.norm.running_var.fill_(4.0)
        layer = layer.double() if kind == torch.float64 else layer
        out = layer(values)
        return out, *torch.autograd.grad(out, [values, layer.alpha], grad.to(kind)), *layer.norm.buffers()

    found, expected = made(dtype), made(torch.float64)
    assert type(found[0].grad_fn) is not type(expected[0].grad_fn)
    for place, (ours, theirs) in enumerate(zip(found, expected, strict=True)):
        rounded = dtype == torch.bfloat16 and place < 2
        torch.testing.assert_close(ours, theirs.to(ours.dtype), rtol=2**-7 if rounded else 1e-5, atol=3e-5)


def test_dice_tells_nothing_of_what_is_no_number_and_holds_at_large_ones():
    layer = Dice(1).eval()
    x = torch.tensor([[torch.nan], [1e30], [-1e30], [100.0], [-100.0], [0.0]])
    with torch.no_grad():
        assert layer(x)[0].isnan()
        torch.testing.assert_close(layer(x)[1:, 0], torch.tensor([1e30, 0.0, 100.0, 0.0, 0.0]), atol=1e-6, rtol=1e-6)


def test_dice_depends_on_no_number_of_threads():
    torch.manual_seed(0)
    x, layer, results = torch.randn(3000, 36, requires_grad=True), Dice(36), []
    for threads in (1, 2, 3):
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            out = layer(x)
            results.append([out, *torch.autograd.grad(out.square().sum(), [x, layer.alpha])])
        finally:
            torch.set_num_threads(before)
    for other in results[1:]:
        assert all(map(torch.equal, results[0], other))


def jagged(n, width, longest):
    lengths = torch.randint(0, longest + 1, (n,))
    return torch.randn(int(lengths.sum()), width), torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize(
    ("n", "width", "units", "longest"),
    [
        (100, 16, 36, 9),
        (1, 16, 36, 200),
        (3, 1, 1, 4),
        (40, 7, 80, 5),
        (33, 32, 100, 130),
        (5, 4, 4, 0),
        (9, 64, 112, 3),
    ],
)
def test_values_beside_their_target_are_those_of_torch(without, n, width, units, longest, bf16):
    torch.manual_seed(0)
    values, offsets = jagged(n, width, longest)
    inputs = [values, torch.randn(n, width), torch.randn(n, units), torch.randn(2, width, units) / width**0.5]
    inputs = [tensor.requires_grad_() for tensor in inputs]
    grad = torch.randn(len(values), units).to(torch.bfloat16 if bf16 else torch.float32)

    def made(autocast):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            out = Pairs(inputs[1], Jagged(inputs[0], offsets)).linear(*inputs[2:])
        return out, *torch.autograd.grad(out, inputs, grad.to(out.dtype))

    found, expected = made(bf16), without(lambda: made(False))
    assert type(found[0].grad_fn) is not type(expected[0].grad_fn)
    for place, (ours, theirs) in enumerate(zip(found, expected, strict=True)):
        rounded = bf16 and place == 0
        assert ours.dtype == (torch.bfloat16 if rounded else torch.float32)
        torch.testing.assert_close(ours.float(), theirs, rtol=2**-7 if rounded else 1e-4, atol=1e-4)


@pytest.mark.parametrize(("n", "width", "longest"), [(100, 16, 9), (1, 3, 200), (5, 4, 0), (0, 4, 0)])
def test_weighted_sums_are_those_of_torch(without, n, width, longest):
    torch.manual_seed(0)
    values, offsets = jagged(n, width, longest)
    weights, grad = torch.randn(len(values), 1, requires_grad=True), torch.randn(n, width)
    values.requires_grad_()

    def made():
        out = Pairs(torch.zeros(n, width), Jagged(values, offsets)).weighted_sum(weights)
        return out, *torch.autograd.grad(out, [values, weights], grad)

    found, expected = made(), without(made)
    assert type(found[0].grad_fn) is not type(expected[0].grad_fn)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("offsets", [[0, 2, 5], [1, 2, 4], [0, 5, 4]])
def test_offsets_that_leave_the_values_are_refused(offsets):
    pairs = Pairs(torch.randn(2, 2), Jagged(torch.randn(4, 2), torch.tensor(offsets)))
    with pytest.raises(ValueError, match="offsets"):
        pairs.linear(torch.randn(2, 3), torch.randn(2, 2, 3))
    with pytest.raises(ValueError, match="offsets"):
        pairs.weighted_sum(torch.randn(4, 1))


def test_shapes_that_do_not_fit_are_refused():
    history = Jagged(torch.randn(4, 2), torch.tensor([0, 2, 4]))
    for shape in [(3, 2), (1, 2), (2, 3)]:
        with pytest.raises(ValueError, match="one for each of 2 rows"):
            Pairs(torch.randn(shape), history)
    pairs = Pairs(torch.randn(2, 2), history)
    for by_row, weight in [((3, 3), (2, 2, 3)), ((2, 4), (2, 2, 3)), ((2, 3), (2, 1, 3))]:
        with pytest.raises(ValueError, match="shapes"):
            pairs.linear(torch.randn(by_row), torch.randn(weight))
    with pytest.raises(ValueError, match="shapes"):
        pairs.weighted_sum(torch.randn(3, 1))
    with pytest.raises((RuntimeError, ValueError)):
        Dice(3)(torch.randn(5, 4))


def test_values_beside_their_target_depend_on_no_number_of_threads():
    torch.manual_seed(0)
    values, offsets = jagged(700, 16, 30)
    inputs = [values, torch.randn(700, 16), torch.randn(700, 36), torch.randn(2, 16, 36)]
    inputs, results = [tensor.requires_grad_() for tensor in inputs], []
    for threads in (1, 2, 3):
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            pairs = Pairs(inputs[1], Jagged(inputs[0], offsets))
            hidden = pairs.linear(*inputs[2:])
            out = pairs.weighted_sum(hidden[:, :1])
            results.append([hidden, out, *torch.autograd.grad(out.square().sum(), inputs)])
        finally:
            torch.set_num_threads(before)
    for other in results[1:]:
        assert all(map(torch.equal, results[0], other))
