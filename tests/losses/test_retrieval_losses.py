"""Retrieval losses against their formulas."""

import pytest
import torch
import torch.nn.functional as F

from rechub_cli import plugins

NAMES = ["softmax", "bce", "gbce", "bpr", "hinge"]
POSITIVE = torch.tensor([1.0, -0.5, 2.0])
NEGATIVES = torch.tensor([[0.5, -1.0, 0.2], [1.5, 0.0, -0.3], [-2.0, 0.7, 0.1]])


def loss(name, **options):
    made = plugins.load("retrieval_losses", name)(**options)
    if hasattr(made, "bind"):
        made.bind(1000)
    return made


def test_softmax_is_the_cross_entropy_of_the_first_column():
    want = F.cross_entropy(torch.cat([POSITIVE[:, None], NEGATIVES], 1), torch.zeros(3, dtype=torch.int64))
    torch.testing.assert_close(loss("softmax")(POSITIVE, NEGATIVES), want)


def test_softmax_gives_value_and_gradients_at_once():
    shares, counts = torch.tensor([0.2, 0.3, 0.5]), torch.tensor([1.0, 2.0, 1.0])
    positive, negatives = POSITIVE.clone().requires_grad_(), NEGATIVES.clone().requires_grad_()
    want = loss("softmax")(positive, negatives, shares, counts)
    want.backward()
    replaced = NEGATIVES.clone()
    value, of_positive = loss("softmax").gradients(POSITIVE, replaced, shares, counts)
    torch.testing.assert_close(value, want.detach())
    torch.testing.assert_close(of_positive, positive.grad)
    torch.testing.assert_close(replaced, negatives.grad)


def test_pairs():
    differences = POSITIVE[:, None] - NEGATIVES
    torch.testing.assert_close(loss("bpr")(POSITIVE, NEGATIVES), -differences.sigmoid().log().mean())
    torch.testing.assert_close(loss("hinge", margin=1.0)(POSITIVE, NEGATIVES), (1 - differences).clamp_min(0).mean())


def test_points():
    want = (-POSITIVE.sigmoid().log() - (-NEGATIVES).sigmoid().log().mean(1)).mean() / 2
    torch.testing.assert_close(loss("bce")(POSITIVE, NEGATIVES), want)


def test_gbce_is_the_papers():
    t, k, n_items = 0.75, 3, 1000
    rate = k / (n_items - 1)
    beta = rate * ((1 - 1 / rate) * t + 1 / rate)
    want = (-(POSITIVE.sigmoid() ** beta).log() - (1 - NEGATIVES.sigmoid()).log().sum(1)).mean() / (k + 1)
    torch.testing.assert_close(loss("gbce", t=t)(POSITIVE, NEGATIVES), want, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_a_masked_negative_is_as_if_it_were_not_there(name):
    more = torch.cat([NEGATIVES, torch.full((3, 2), -torch.inf)], 1)
    parts = [(POSITIVE.clone().requires_grad_(), part.clone().requires_grad_()) for part in (NEGATIVES, more)]
    values = [loss(name)(*pair) for pair in parts]
    torch.testing.assert_close(*values)
    for value in values:
        value.backward()
    torch.testing.assert_close(parts[0][0].grad, parts[1][0].grad)
    torch.testing.assert_close(parts[0][1].grad, parts[1][1].grad[:, :3])
    assert parts[1][1].grad[:, 3:].eq(0).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_count_is_as_many_columns(name):
    counts = torch.tensor([2.0, 1.0, 3.0])
    repeated = NEGATIVES.repeat_interleave(counts.long(), dim=1)
    torch.testing.assert_close(loss(name)(POSITIVE, NEGATIVES, None, counts), loss(name)(POSITIVE, repeated))


@pytest.mark.parametrize("name", NAMES)
def test_weights_weigh_queries_and_their_scale_does_not_matter(name):
    weights = torch.tensor([1.0, 2.0, 0.0])
    each = torch.stack([loss(name)(POSITIVE[i : i + 1], NEGATIVES[i : i + 1]) for i in range(3)])
    want = (each * weights).sum() / 3
    torch.testing.assert_close(loss(name)(POSITIVE, NEGATIVES, weights), want)
    torch.testing.assert_close(loss(name)(POSITIVE, NEGATIVES, 7 * weights), want)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_those_of_finite_differences(name):
    if name == "gbce":
        one = loss(name)
        one.bind(20)
    else:
        one = loss(name)
    pair = (POSITIVE.double().requires_grad_(), NEGATIVES.double().requires_grad_())
    assert torch.autograd.gradcheck(one, pair)


@pytest.mark.parametrize("name", NAMES)
def test_large_logits_stay_finite(name):
    positive, negatives = torch.tensor([-200.0]).requires_grad_(), torch.tensor([[300.0, -300.0]]).requires_grad_()
    value = loss(name)(positive, negatives)
    value.backward()
    assert value.isfinite()
    assert positive.grad.isfinite().all()
    assert negatives.grad.isfinite().all()
