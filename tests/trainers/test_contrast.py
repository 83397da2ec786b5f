"""The loss of a step: block by block the same as all at once."""

import pytest
import torch
import torch.nn.functional as F

from rechub_cli import plugins
from rechub_cli.trainers import contrast as module
from rechub_cli.trainers.contrast import Contrast, contrast


def loss(name="softmax", **options):
    return plugins.load("retrieval_losses", name)(**options)


def vectors(n_users=37, n_items=19, dim=5):
    generator = torch.Generator().manual_seed(3)
    users = torch.randn(n_users, dim, generator=generator, dtype=torch.float32)
    items = torch.randn(n_items, dim, generator=generator)
    positives = torch.randint(0, n_items, (n_users,), generator=generator)
    return users.requires_grad_(), items.requires_grad_(), positives


def learnt(users, items, step):
    users.grad = items.grad = None
    value = contrast(users, items, step)
    (3 * value).backward()
    return value.detach(), users.grad / 3, items.grad / 3


def reference(users, items, step, logits):
    """By autograd, all at once, negatives written out."""
    users.grad = items.grad = None
    scores = logits(users, items)
    positive = (users * items[step.positives]).sum(1)
    value = step.loss(positive, scores, step.weights, step.counts)
    value.backward()
    return value.detach(), users.grad.clone(), items.grad.clone()


def masked(scores, hit):
    return scores.masked_fill(hit, -torch.inf)


@pytest.mark.parametrize("block", [1, 40, 2**20])
@pytest.mark.parametrize("name", ["softmax", "bpr", "bce", "hinge"])
def test_blocks_of_any_size_give_the_loss_and_gradients_of_the_whole(monkeypatch, block, name):
    monkeypatch.setitem(module.BLOCK_SCORES, "cpu", block)
    users, items, positives = vectors()
    candidates = torch.tensor([3, 0, 11, 7, 18])
    step = Contrast(
        loss(name), positives, candidates, counts=torch.tensor([1.0, 2.0, 1.0, 3.0, 1.0]), weights=torch.rand(37)
    )
    hit = candidates == positives[:, None]
    assert hit.any()
    want = reference(users, items, step, lambda u, i: masked(u @ i[candidates].T, hit))
    for one, other in zip(learnt(users, items, step), want, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_the_whole_catalogue_is_the_exact_cross_entropy(monkeypatch):
    monkeypatch.setitem(module.BLOCK_SCORES, "cpu", 100)
    users, items, positives = vectors()
    value, of_users, of_items = learnt(users, items, Contrast(loss(), positives))
    users.grad = items.grad = None
    want = F.cross_entropy(users @ items.T, positives)
    want.backward()
    assert value.item() == pytest.approx(want.item(), rel=1e-6)
    torch.testing.assert_close(of_users, users.grad)
    torch.testing.assert_close(of_items, items.grad)


@pytest.mark.parametrize("block", [1, 2**20])
def test_candidates_of_each_querys_own(monkeypatch, block):
    monkeypatch.setitem(module.BLOCK_SCORES, "cpu", block)
    users, items, positives = vectors()
    candidates = torch.randint(-1, 19, (37, 6), generator=torch.Generator().manual_seed(5))
    candidates[0] = -1  # one query has none at all
    step = Contrast(loss(), positives, candidates)
    hit = (candidates == positives[:, None]) | (candidates < 0)
    want = reference(
        users, items, step, lambda u, i: masked(torch.einsum("qe,qne->qn", u, i[candidates.clamp_min(0)]), hit)
    )
    for one, other in zip(learnt(users, items, step), want, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("hard", [None, 2])
def test_candidates_that_the_queries_of_a_row_share(hard):
    users, items, positives = vectors()
    candidates = torch.randint(-1, 19, (4, 6), generator=torch.Generator().manual_seed(5))
    offsets = torch.tensor([0, 20, 20, 21, 37])  # one row has no query, one has one
    bias = torch.randn(4, 6)
    shared = Contrast(loss(), positives, candidates, bias=bias, offsets=offsets, hard=hard)
    row = torch.repeat_interleave(offsets.diff())
    alone = Contrast(loss(), positives, candidates[row], bias=bias[row], hard=hard)
    for one, other in zip(learnt(users, items, shared), learnt(users, items, alone), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_the_hardest_are_kept_after_the_querys_own_item_is_masked():
    users = torch.tensor([[1.0, 0.0]], requires_grad=True)
    items = torch.tensor([[9.0, 0.0], [2.0, 0.0], [1.0, 0.0]], requires_grad=True)
    step = Contrast(loss("bpr"), torch.tensor([0]), hard=1)
    value, _, of_items = learnt(users, items, step)
    # Its own item scores 9 and is no negative: the hardest is the one that scores 2.
    assert value.item() == pytest.approx(F.softplus(torch.tensor(2.0 - 9.0)).item(), rel=1e-5)
    assert of_items[2].eq(0).all()
    assert of_items[1, 0] > 0


def test_hard_counts_stay_with_their_negatives():
    users, items, positives = vectors()
    candidates = torch.arange(10)
    counts = torch.arange(1.0, 11.0)
    positives = positives.clamp_min(10)  # no hits
    step = Contrast(loss("bpr"), positives, candidates, counts=counts, hard=3)
    top = (users @ items[:10].T).detach().topk(3, 1)
    positive = (users * items[positives]).sum(1, keepdim=True)
    often = counts[top.indices]
    want = ((often * F.softplus(top.values - positive)).sum(1) / often.sum(1)).mean()
    assert learnt(users, items, step)[0].item() == pytest.approx(want.item(), rel=1e-5)


def test_bfloat16_products_are_near(monkeypatch):
    users, items, positives = vectors()
    near, exact = (learnt(users, items, Contrast(loss(), positives, bf16=bf16)) for bf16 in (True, False))
    for one, other in zip(near, exact, strict=True):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one, other, atol=0.02, rtol=0.05)


def test_without_gradients_only_the_loss_is_computed():
    users, items, positives = vectors()
    step = Contrast(loss(), positives)
    want = learnt(users, items, step)[0].item()
    with torch.no_grad():
        value = contrast(users, items, step)
    assert value.item() == pytest.approx(want)
    assert not value.requires_grad
