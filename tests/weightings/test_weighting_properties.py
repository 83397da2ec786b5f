"""What each weighting promises, whatever the numbers: scale invariance, sums, the removal of conflicts."""

import pytest
import torch
from weighting_toys import ALL, Point, Toy, linear, make

from rechub_cli.errors import SpecError


def descend(weighting, losses, steps=200):
    """Learn a weighting's own parameters while the losses stay as they are."""
    point = Point([0.0, 0.0])
    optimizer = torch.optim.Rprop(weighting.parameters(), lr=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        point.W.grad = None
        weighting.backward([loss + 0 * point.W.sum() for loss in torch.tensor(losses)], point.shared)
        optimizer.step()
        weighting.after_step()
    return weighting


def test_uwl_enlarges_the_weight_of_a_small_loss_beyond_its_start():
    weighting = descend(make("uwl", ["classification"] * 2), [0.15, 0.008])
    torch.testing.assert_close(weighting.weights, 1 / (2 * torch.tensor([0.15, 0.008])), rtol=0.01, atol=0)


def test_uwl_makes_the_share_of_each_task_independent_of_its_scale():
    for scale in (0.01, 1.0, 100.0):
        weighting = descend(make("uwl"), [scale, 5 * scale])
        share = weighting.weights * torch.tensor([scale, 5 * scale])
        torch.testing.assert_close(share, torch.full((2,), 0.5), rtol=0.01, atol=0)


def test_nonnegative_uwl_is_never_negative_and_grows_with_the_root_of_a_small_loss():
    weighting = make("uwl_nonnegative")
    seen = []
    for s in torch.linspace(-20, 20, 81):
        weighting.log_variance.data[:] = s
        seen.append(total_of(weighting, [1e-6, 1e-6]))
    assert min(seen) >= 0
    small, tiny = (descend(make("uwl_nonnegative"), [loss, loss]).weights[0] for loss in (1e-2, 1e-4))
    assert float(tiny / small) == pytest.approx(10, rel=0.1)  # a hundredth of the loss; uwl: 100 times the weight


def total_of(weighting, losses):
    class Heard:
        def backward(self, total):
            self.total = total.detach()

    heard = Heard()
    weighting.backward(torch.tensor(losses), heard)
    return float(heard.total)


def settled(scales, alpha, steps=600):
    """GradNorm's weights after a while, the gradients of two losses being of these lengths."""
    weighting, point = make("gradnorm", alpha=alpha), Point([0.0, 0.0])
    grads = [[scales[0], 0.0], [0.0, scales[1]]]
    optimizer = torch.optim.Adam(weighting.parameters(), lr=0.005)
    for _ in range(steps):
        optimizer.zero_grad()
        point.W.grad = None
        weighting.backward(linear(point, grads, scales), point.shared)
        optimizer.step()
        weighting.after_step()
        assert float(weighting.weights.sum()) == pytest.approx(2)
    return weighting.weights


def test_gradnorm_weights_sum_to_the_number_of_tasks_and_undo_the_scale_of_a_loss():
    weights = settled([10.0, 1.0], alpha=0.16)
    torch.testing.assert_close(weights * torch.tensor([10.0, 1.0]), torch.full((2,), 2 / 1.1), rtol=0.05, atol=0)


def test_gradnorm_pulls_harder_for_the_task_that_learns_slower():
    weighting, point = make("gradnorm", alpha=1.0), Point([0.0, 0.0])
    grads = [[1.0, 0.0], [0.0, 1.0]]
    point.step(weighting, linear(point, grads, (1.0, 1.0)))
    for _ in range(60):
        point.step(weighting, linear(point, grads, (0.2, 0.6)), lr_weights=0.01)
    torch.testing.assert_close(weighting.weights, torch.tensor([0.5, 1.5]), rtol=0.05, atol=0)


def test_gradnorm_keeps_its_weights_positive():
    weighting, point = make("gradnorm"), Point([0.0, 0.0])
    for _ in range(20):
        point.step(weighting, linear(point, [[36.0, 0.0], [0.0, 1.0]]), lr_weights=0.02)
        assert float(weighting.weights.min()) > 0


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_metabalance_gives_an_auxiliary_gradient_the_length_of_the_target_whatever_its_scale(scale):
    weighting, point = make("metabalance", relax_factor=1.0), Point([0.0, 0.0])
    grad = point.step(weighting, linear(point, [[0.0, 2.0], [3 * scale, 0.0]]))
    torch.testing.assert_close(grad, torch.tensor([2.0, 2.0]))


def test_metabalance_takes_an_auxiliary_task_without_a_gradient():
    weighting, point = make("metabalance"), Point([0.0, 0.0])
    grad = point.step(weighting, linear(point, [[0.0, 2.0], [0.0, 0.0]]))
    torch.testing.assert_close(grad, torch.tensor([0.0, 2.0]))


def test_metabalance_judges_a_task_that_appears_late_by_the_same_measure():
    weighting, point = make("metabalance", relax_factor=1.0), Point([0.0, 0.0])
    for _ in range(9):
        point.step(weighting, linear(point, [[0.0, 2.0], [0.0, 0.0]]))
    grad = point.step(weighting, linear(point, [[0.0, 2.0], [3.0, 0.0]]))
    torch.testing.assert_close(grad, torch.tensor([2.0, 2.0]))


def test_dwa_weights_sum_to_the_number_of_tasks_and_ignore_the_scale_of_a_loss():
    weights = []
    for scale in (1.0, 1e6):
        weighting = make("dwa", ["regression"] * 3)
        for losses in ([4.0, 2.0, 1.0], [3.0, 1.9, 0.5]):
            weighting.epoch_end(torch.tensor(losses) * torch.tensor([1.0, scale, 1.0]))
        assert float(weighting.weights.sum()) == pytest.approx(3)
        weights.append(weighting.weights)
    torch.testing.assert_close(*weights)
    assert weights[0].argsort().tolist() == [2, 0, 1]  # the loss that fell least counts most


def test_dwa_takes_an_epoch_without_labels():
    weighting = make("dwa")
    for losses in ([4.0, 2.0], [torch.nan, 1.0], [2.0, 1.0]):
        weighting.epoch_end(torch.tensor(losses))
    assert weighting.weights.isfinite().all()


def test_pcgrad_leaves_no_conflict_between_two_tasks_and_no_trace_where_there_is_none():
    generator = torch.Generator().manual_seed(0)
    conflicts = 0
    for _ in range(50):
        grads = torch.randn(2, 2, generator=generator)
        weighting, point = make("pcgrad"), Point([0.0, 0.0])
        update = point.step(weighting, linear(point, grads.tolist()))
        conflict = float(grads[0] @ grads[1]) < 0
        conflicts += conflict
        assert float((grads @ update).min()) >= -1e-6
        if not conflict:
            torch.testing.assert_close(update, grads.sum(0))
    assert 10 < conflicts < 40


def test_pcgrad_draws_the_same_orders_again_from_its_state():
    grads = [[1.0, 0.0], [-1.0, 0.3], [-1.0, -0.5]]
    point = Point([0.0, 0.0])

    def updates(weighting, steps):
        return [point.step(weighting, linear(point, grads, (1.0,) * 3)).tolist() for _ in range(steps)]

    first = make("pcgrad", ["regression"] * 3)
    story = updates(first, 8)
    assert len({str(one) for one in story}) > 1  # order matters here
    second = make("pcgrad", ["regression"] * 3)
    updates(second, 4)
    third = make("pcgrad", ["regression"] * 3)
    third.load_state_dict(second.state_dict())
    assert updates(third, 4) == story[4:]


@pytest.mark.parametrize("warm", [False, True])
def test_stch_does_not_mind_the_scale_of_a_loss(warm):
    grads = []
    for scale in (1.0, 1000.0):
        weighting, point = make("stch", mu=0.5), Point([0.0, 0.0])
        if warm:
            weighting.epoch_end(torch.tensor([0.9, 0.7 * scale]))
        losses = linear(point, [[1.0, 0.0], [0.0, scale]], (0.8, 0.5 * scale))
        grads.append(point.step(weighting, losses))
    torch.testing.assert_close(*grads)


def test_stch_with_a_small_mu_sees_only_the_worst_task():
    weighting, point = make("stch", mu=0.01), Point([0.0, 0.0])
    weighting.epoch_end(torch.tensor([1.0, 1.0]))
    grad = point.step(weighting, linear(point, [[1.0, 0.0], [0.0, 1.0]], (0.5, 0.8)))
    torch.testing.assert_close(grad, torch.tensor([0.0, 2 / 0.8]))


def test_static_weights_by_place_and_by_name():
    for weights in ([2.0, 0.5], {"t1": 0.5, "t0": 2.0}):
        point = Point([0.0, 0.0])
        grad = point.step(make("static", weights=weights), linear(point, [[1.0, 0.0], [0.0, 1.0]]))
        torch.testing.assert_close(grad, torch.tensor([2.0, 0.5]))


@pytest.mark.parametrize("weights", [[1.0], [0.0, 0.0], [1.0, -1.0], {"t7": 1.0}, [1.0, float("nan")]])
def test_static_weights_that_make_no_sense(weights):
    with pytest.raises(SpecError, match="static weights"):
        make("static", weights=weights)


@pytest.mark.parametrize("name", ALL)
def test_a_task_without_labels_is_left_out_of_a_step(name):
    weighting, toy = make(name), Toy()
    toy.step(weighting, toy.losses(), lr=0.05, lr_weights=0.01)
    before = weighting.weights.clone()
    grad = toy.step(weighting, [toy.losses()[0], 0 * toy.W.sum()], lr_weights=0.01)
    assert grad.isfinite().all()
    assert weighting.weights.isfinite().all()
    expected = 3 * (toy.W - torch.tensor([1.0, 0.0])).detach()
    torch.testing.assert_close(
        torch.nn.functional.normalize(grad, dim=0), torch.nn.functional.normalize(expected, dim=0)
    )
    if name.startswith("uwl"):  # nothing was learnt of it
        torch.testing.assert_close(weighting.weights[1], before[1])
