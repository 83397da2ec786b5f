"""The compiled loops of causal self-attention beside torch's own operators."""

import pytest
import torch

from rechub_cli.kernels import loops
from rechub_cli.nn.causal import Causal

pytestmark = pytest.mark.skipif(loops.library() is None, reason="no compiled loops here")


def offsets_of(lengths):
    return torch.tensor([0, *lengths]).cumsum(0)


def attended(packed, offsets, n_heads, grad):
    out = Causal(offsets, len(packed)).attend(packed, n_heads)
    return out, *torch.autograd.grad(out, [packed], grad)


@pytest.mark.parametrize(
    ("lengths", "n_heads", "width"),
    [
        ([50, 3, 0, 17, 16, 33], 1, 64),
        ([1], 1, 1),
        ([2, 5, 200], 2, 8),
        ([40] * 20, 4, 20),
        ([15, 31, 1], 3, 5),
        ([0, 0], 1, 4),
        ([], 1, 4),
        ([130, 7], 1, 100),
    ],
)
def test_attention_and_its_gradient_are_those_of_torch(without, lengths, n_heads, width):
    torch.manual_seed(0)
    packed = (torch.randn(sum(lengths), 3 * n_heads * width) * 2).requires_grad_()
    offsets, grad = offsets_of(lengths), torch.randn(sum(lengths), n_heads * width)
    found = attended(packed, offsets, n_heads, grad)
    expected = without(lambda: attended(packed, offsets, n_heads, grad))
    assert type(found[0].grad_fn) is not type(expected[0].grad_fn)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=2e-5)


def test_one_event_finds_its_own_value_and_two_share_by_their_scores():
    packed = torch.tensor([[1.0, 2.0, 5.0], [3.0, 1.0, 7.0], [1.0, 1.0, 9.0]])
    out = Causal(offsets_of([1, 2]), 3).attend(packed, 1)
    torch.testing.assert_close(out[:, 0], torch.tensor([5.0, 7.0, 8.0]))
    packed = torch.tensor([[0.0, 200.0, 5.0], [1.0, 100.0, 7.0]])
    torch.testing.assert_close(Causal(offsets_of([2]), 2).attend(packed, 1)[:, 0], torch.tensor([5.0, 5.0]))


def test_what_comes_later_changes_no_bit_of_what_was_found():
    torch.manual_seed(0)
    packed, offsets = torch.randn(60, 3 * 16), offsets_of([40, 20])
    before = Causal(offsets, 60).attend(packed, 2)
    packed[23:40] = torch.randn(17, 3 * 16)
    after = Causal(offsets, 60).attend(packed, 2)
    assert torch.equal(before[:23], after[:23])
    assert torch.equal(before[40:], after[40:])
    assert (before[23:40] != after[23:40]).any(dim=1).all()


@pytest.mark.parametrize("place", [0, 8, 16])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_what_is_no_number_is_not_hidden(place, value):
    packed = torch.ones(4, 24)
    packed[1, place] = value
    assert not Causal(offsets_of([4]), 4).attend(packed, 1)[1].isfinite().all()


def test_attention_depends_on_no_number_of_threads():
    torch.manual_seed(0)
    lengths, results = torch.randint(0, 50, (200,)).tolist(), []
    packed, grad = torch.randn(sum(lengths), 96, requires_grad=True), torch.randn(sum(lengths), 32)
    for threads in (1, 2, 3):
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            results.append(attended(packed, offsets_of(lengths), 2, grad))
        finally:
            torch.set_num_threads(before)
    for other in results[1:]:
        assert all(map(torch.equal, results[0], other))


def test_shapes_and_offsets_that_do_not_fit_are_refused():
    causal = Causal(offsets_of([2, 2]), 4)
    with pytest.raises(ValueError, match="heads"):
        causal.attend(torch.randn(4, 10), 1)
    with pytest.raises(ValueError, match="heads"):
        causal.attend(torch.randn(4, 12), 3)
    with pytest.raises(ValueError, match="events"):
        causal.attend(torch.randn(5, 12), 1)
    causal.offsets = torch.tensor([0, 5, 4])
    with pytest.raises(ValueError, match="events"):
        causal.attend(torch.randn(4, 12), 1)
