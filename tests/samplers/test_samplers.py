"""Samplers: what they draw, how likely they say it was, and that this makes the softmax an honest estimate."""

import numpy as np
import pytest
import torch

from rechub_cli import plugins
from rechub_cli.batch import Batch, Jagged
from rechub_cli.errors import SpecError
from rechub_cli.schema import Feature, Schema
from rechub_cli.trainers.contrast import Contrast, contrast

COUNTS = torch.tensor([80, 40, 20, 10, 8, 6, 5, 4, 3, 0] * 5)  # 50 items
NONE = Batch(torch.zeros(1, 0, dtype=torch.int32), torch.zeros(1, 0))
DRAWING = [("in_batch", {}), ("uniform", {"n": 300}), ("popularity", {"n": 300, "alpha": 1.0}), ("mixed", {"n": 150})]


def sampler(name, **options):
    made = plugins.load("samplers", name)(**options)
    made.bind(COUNTS, 11, Schema(()))
    return made


def positives(n=300, seed=0):
    """As training chose them, items of count 0 as if it were 1."""
    weights = COUNTS.clamp(min=1).float()
    return torch.multinomial(weights, n, replacement=True, generator=torch.Generator().manual_seed(seed))


def draw(name, own, step=0, **options):
    return sampler(name, **options).draw(own, NONE, epoch=0, step=step)


def gradient(own, candidates, scores, bias):
    """By the scores of 50 items, for the queries whose own item is 7 (a rare one) and 0 (the most popular)."""
    scores = scores.clone().requires_grad_()
    logits = torch.eye(50) * 1.0  # item vectors, so that the gradient by the user is that by the scores
    queries = torch.tensor([7, 0])
    step = Contrast(plugins.load("retrieval_losses", "softmax")(), queries, candidates.places, bias=bias, counts=None)
    contrast(scores.expand(2, 50), logits, step).backward()
    return scores.grad


@pytest.mark.parametrize(("name", "options"), DRAWING)
def test_the_corrected_gradient_is_that_of_the_full_softmax(name, options):
    scores = torch.randn(50, generator=torch.Generator().manual_seed(1))
    everyone = plugins.load("samplers", "full")()
    everyone.bind(COUNTS, 0, Schema(()))
    full = gradient(None, everyone.draw(positives(), NONE, epoch=0, step=0), scores, None)
    mean = {sign: torch.zeros(50) for sign in (-1, 0, 1)}
    for step in range(60):
        candidates = draw(name, positives(seed=step), step, **options)
        for sign in mean:
            bias = candidates.counts.log() + sign * candidates.log_q
            mean[sign] += gradient(None, candidates, scores, bias) / 60
    off = {sign: float((mean[sign] - full).norm() / full.norm()) for sign in mean}
    assert off[-1] < 0.06
    if name != "uniform":  # even draws need no correction beside the scale
        assert off[1] > off[0] > 3 * off[-1]


@pytest.mark.parametrize(("name", "options"), DRAWING)
def test_items_are_drawn_as_often_as_the_sampler_says(name, options):
    seen, said = torch.zeros(50), torch.zeros(50)
    for step in range(200):
        candidates = draw(name, positives(seed=step), step, **options)
        seen.index_add_(0, candidates.places, candidates.counts)
        said[candidates.places] = candidates.log_q.exp()
    often = said > 1
    assert often.sum() > 3
    torch.testing.assert_close(seen[often] / 200, said[often], rtol=0.1, atol=0.1)


@pytest.mark.parametrize(("per", "size"), [("row", 4), ("query", 8)])
@pytest.mark.parametrize("name", ["uniform", "popularity"])
def test_rows_or_queries_can_draw_for_themselves(name, per, size):
    rows = Batch(torch.zeros(4, 0, dtype=torch.int32), torch.zeros(4, 0))
    seen, own = torch.zeros(50), positives(8)
    for step in range(400 // size):
        drawn = sampler(name, n=50, per=per).draw(own, rows, epoch=0, step=step)
        assert drawn.places.shape == drawn.log_q.shape == (size, 50)
        assert not torch.equal(drawn.places[0], drawn.places[1])
        seen += torch.bincount(drawn.places.flatten(), minlength=50) / 400
    said = torch.zeros(50).index_put((drawn.places.flatten(),), drawn.log_q.flatten().exp())
    torch.testing.assert_close(seen[said > 0.5], said[said > 0.5], rtol=0.15, atol=0.1)


@pytest.mark.parametrize(("name", "options"), [*DRAWING, ("in_batch", {"n": 20})])
def test_a_draw_is_a_function_of_seed_epoch_and_step(name, options):
    own = positives()
    made = sampler(name, **options)
    first = made.draw(own, NONE, epoch=2, step=5)
    made.draw(own, NONE, epoch=2, step=6)
    assert torch.equal(made.draw(own, NONE, epoch=2, step=5).places, first.places)
    if (name, options) != ("in_batch", {}):
        others = [made.draw(own, NONE, epoch=epoch, step=step) for epoch, step in ((2, 6), (3, 5))]
        assert not any(
            torch.equal(one.places, first.places) and torch.equal(one.counts, first.counts) for one in others
        )


def test_the_batchs_items_are_candidates_once_with_their_count():
    candidates = draw("in_batch", torch.tensor([4, 9, 4, 4, 0]))
    assert candidates.places.tolist() == [0, 4, 9]
    assert candidates.counts.tolist() == [1, 3, 1]
    q = COUNTS.clamp(min=1) / COUNTS.clamp(min=1).sum()
    assert candidates.log_q.exp().tolist() == pytest.approx((4 * q[[0, 4, 9]]).tolist())  # four others
    assert candidates.positive_log_q.exp().tolist() == pytest.approx((4 * q[[4, 9, 4, 4, 0]]).tolist())


def test_an_item_that_training_never_chose_has_a_probability_above_0():
    for name, options in DRAWING:
        assert draw(name, torch.tensor([9, 19, 29]), **options).log_q.isfinite().all()
        assert draw(name, torch.tensor([9, 19, 29]), **options).positive_log_q.isfinite().all()


def test_a_lone_query_has_no_negative_in_its_batch():
    candidates = draw("in_batch", torch.tensor([4]))
    assert candidates.places.tolist() == [4]
    users, items = torch.ones(1, 2, requires_grad=True), torch.ones(50, 2, requires_grad=True)
    for name in ("softmax", "bpr", "bce", "hinge"):
        loss = plugins.load("retrieval_losses", name)()
        value = contrast(users, items, Contrast(loss, torch.tensor([4]), candidates.places, counts=candidates.counts))
        value.backward()
        assert value.isfinite()
        assert users.grad.isfinite().all()


def test_mixed_draws_expect_what_both_sources_do():
    own = positives(100)
    candidates = draw("mixed", own, n=25)
    q = COUNTS.clamp(min=1) / COUNTS.clamp(min=1).sum()
    assert candidates.log_q.exp().tolist() == pytest.approx((99 * q + 25 / 50)[candidates.places].tolist(), rel=1e-5)
    assert candidates.counts.sum() == 125


def test_popularity_to_the_power_of_0_is_even():
    flat = draw("popularity", positives(), n=500, alpha=0.0)
    assert torch.unique(flat.log_q).numel() == 1


def test_given_negatives_are_those_of_the_row_and_padding_is_none():
    schema = Schema((Feature("shown", "sequence", 4, 50, shares="item", role="negatives"),))
    made = plugins.load("samplers", "given")()
    made.bind(COUNTS, 0, schema)
    shown = Jagged(torch.tensor([3, 8, 5], dtype=torch.int32), torch.tensor([0, 2, 2, 3]))
    targets = Jagged(torch.tensor([[1, 1], [1, 2], [1, 0]], dtype=torch.int32), torch.arange(4))
    batch = Batch(torch.zeros(3, 0, dtype=torch.int32), torch.zeros(3, 0), {"shown": shown}, targets=targets)
    candidates = made.draw(torch.tensor([1, 2, 0]), batch, epoch=0, step=0)
    assert candidates.places.tolist() == [[3, 8], [-1, -1], [5, -1]]
    assert candidates.log_q is None


def test_given_negatives_need_their_column():
    made = plugins.load("samplers", "given")
    with pytest.raises(SpecError, match="the features have none"):
        made().bind(COUNTS, 0, Schema(()))
    two = Schema(tuple(Feature(name, "sequence", 4, 50, role="negatives") for name in "ab"))
    with pytest.raises(SpecError, match="say which with `feature:`, of a, b"):
        made().bind(COUNTS, 0, two)
    named = made(feature="b")
    named.bind(COUNTS, 0, two)


def test_only_places_of_the_catalogue_are_drawn():
    for name, options in DRAWING:
        places = np.concatenate([draw(name, positives(seed=s), s, **options).places.numpy() for s in range(20)])
        assert places.min() >= 0
        assert places.max() < 50
