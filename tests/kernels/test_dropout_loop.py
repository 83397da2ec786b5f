"""The compiled loop of dropout beside torch's own operators."""

import pytest
import torch

from rechub_cli.kernels import loops
from rechub_cli.nn.dropout import Dropout

pytestmark = pytest.mark.skipif(loops.library() is None, reason="no compiled loops here")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(1000, 36), (3, 5), (0, 4), (1,), (129, 2, 7)])
@pytest.mark.parametrize("p", [0.001, 0.2, 0.999])
def test_dropout_and_its_gradient_are_those_of_torch_to_the_bit(without, p, shape, dtype):
    torch.manual_seed(3)
    x, grad = torch.randn(shape).to(dtype).requires_grad_(), torch.randn(shape).to(dtype)

    def made():
        torch.manual_seed(4)
        out = Dropout(p)(x)
        return out, *torch.autograd.grad(out, x, grad)

    found, expected = made(), without(made)
    assert type(found[0].grad_fn) is not type(expected[0].grad_fn)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == dtype
        assert torch.equal(ours, theirs)


def test_a_transposed_tensor_loses_the_same_values():
    x = torch.randn(30, 20)
    torch.manual_seed(0)
    expected = Dropout(0.5)(x)
    torch.manual_seed(0)
    assert torch.equal(Dropout(0.5)(x.t().contiguous().t()), expected)


def test_what_is_no_number_stays_one_whether_it_is_dropped_or_not():
    assert Dropout(0.5)(torch.full((1000,), torch.nan)).isnan().all()


def test_dropout_depends_on_no_number_of_threads():
    x, results = torch.randn(70000), []
    for threads in (1, 2, 3):
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        torch.manual_seed(0)
        try:
            results.append(Dropout(0.3)(x))
        finally:
            torch.set_num_threads(before)
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


def test_a_gradient_of_the_gradient_drops_the_same_values():
    x = torch.randn(50, 4, requires_grad=True)
    out = Dropout(0.4)(x)
    (slope,) = torch.autograd.grad((out**2).sum(), x, create_graph=True)
    (again,) = torch.autograd.grad(slope.sum(), x)
    torch.testing.assert_close(again, 2 * (out != 0) * (256 / (256 - 102)) ** 2 * torch.ones_like(x))


def test_bytes_are_even_and_those_of_two_calls_have_nothing_in_common():
    torch.manual_seed(0)
    ones = torch.ones(400_000)
    first, second = (Dropout(0.5)(ones) != 0 for _ in range(2))
    assert (first == second).float().mean().item() == pytest.approx(0.5, abs=0.005)
    for lag in (1, 8, 64):
        assert (first[lag:] == first[:-lag]).float().mean().item() == pytest.approx(0.5, abs=0.005)
    kept = [(Dropout(k / 256)(ones) != 0).float().mean().item() for k in (16, 64, 200)]
    assert kept == pytest.approx([1 - 16 / 256, 1 - 64 / 256, 1 - 200 / 256], abs=0.004)
