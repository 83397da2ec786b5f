"""What each multi-task model computes, against its paper's formulas and by hand."""

import math

import pytest
import torch
import torch.nn.functional as F

from rechub_cli import plugins
from rechub_cli.batch import Batch
from rechub_cli.errors import SpecError
from rechub_cli.models.multi_task.aitm import Transfer, excess
from rechub_cli.models.multi_task.esmm import logit_of_product
from rechub_cli.schema import Feature, Schema, Task

FUNNEL = (Task("click"), Task("buy"))
FEATURES = (
    Feature("user", "sparse", embed_dim=4, vocab_size=9),
    Feature("item", "sparse", embed_dim=4, vocab_size=9),
    Feature("price", "dense"),
    Feature("age", "dense"),
)
SCHEMA = Schema(FEATURES, FUNNEL)


def built(name, tasks=FUNNEL, **options):
    torch.manual_seed(1)
    return plugins.load("models", name)(Schema(FEATURES, tasks), **options)


def rows(size=8):
    random = torch.Generator().manual_seed(size)
    return Batch(
        torch.randint(3, 9, (size, 2), generator=random, dtype=torch.int32), torch.randn(size, 2, generator=random), {}
    )


def reached(values, model):
    """Names of the parameters that ``values`` depend on."""
    named = dict(model.named_parameters())
    grads = torch.autograd.grad(values.sum(), list(named.values()), retain_graph=True, allow_unused=True)
    return {name for name, grad in zip(named, grads, strict=True) if grad is not None and grad.abs().sum() > 0}


def test_esmm_losses_are_those_of_the_product():
    """pCTR 0.9, 0.2 and pCVR 0.5, 0.1; the first row is clicked and bought."""
    ctr, cvr = torch.logit(torch.tensor([[0.9, 0.2], [0.5, 0.1]], dtype=torch.float64))
    label = torch.tensor([1.0, 0.0], dtype=torch.float64)
    both = logit_of_product(ctr, cvr)
    assert both.sigmoid().tolist() == pytest.approx([0.45, 0.02])
    assert F.binary_cross_entropy_with_logits(ctr, label).item() == pytest.approx(0.164252033486018)
    assert F.binary_cross_entropy_with_logits(both, label).item() == pytest.approx(0.40935520176764556)


def test_esmm_keeps_its_gradient_where_sigmoids_saturate():
    ctr, cvr = torch.tensor([-60.0, 60.0], requires_grad=True), torch.tensor([-60.0, 60.0], requires_grad=True)
    F.binary_cross_entropy_with_logits(logit_of_product(ctr, cvr), torch.tensor([1.0, 0.0]), reduction="sum").backward()
    assert ctr.grad.tolist() == pytest.approx([-1.0, 0.5], abs=1e-3)  # a product of probabilities would give 0, 0
    assert cvr.grad.tolist() == pytest.approx([-1.0, 0.5], abs=1e-3)


def test_esmm_tells_three_probabilities_and_trains_two_logits():
    model = built("esmm").eval()
    output = model(rows())
    ctr, cvr, ctcvr = (output.extras[name] for name in ("ctr", "cvr", "ctcvr"))
    torch.testing.assert_close(ctr * cvr, ctcvr)
    torch.testing.assert_close(output.logits.sigmoid(), torch.stack([ctr, ctcvr], dim=1))


@pytest.mark.parametrize("name", ["esmm", "aitm"])
@pytest.mark.parametrize(
    ("tasks", "said"), [((Task("click"),), "two labels"), ((Task("click"), Task("watch", "regression")), "watch")]
)
def test_a_funnel_needs_steps_that_happen_or_not(name, tasks, said):
    with pytest.raises(SpecError, match=said):
        built(name, tasks)


def test_esmm_takes_no_third_step_and_aitm_does():
    three = (*FUNNEL, Task("keep"))
    with pytest.raises(SpecError, match="two labels"):
        built("esmm", three)
    assert built("aitm", three)(rows()).logits.shape == (8, 3)


def test_aitm_penalises_a_step_that_is_likelier_than_the_one_before():
    logits = torch.logit(torch.tensor([[0.3, 0.5], [0.6, 0.1]]))
    assert excess(logits).item() == pytest.approx(0.1)  # the mean of 0.2 and 0
    model = built("aitm", calibrator=0.6)
    output = model(rows())
    assert output.aux_loss.item() == pytest.approx(0.6 * excess(output.logits).item())


def test_aitm_weighs_what_it_takes_over_by_the_published_attention():
    torch.manual_seed(0)
    transfer, before, own = Transfer(3), torch.randn(2, 3), torch.randn(2, 3)
    info = transfer.info(before)
    weights = transfer.projections.weight.view(3, 3, 3)  # key, query, value
    expected = []
    for row in range(2):
        parts = [info[row], own[row]]
        scores = torch.stack([(weights[0] @ u) @ (weights[1] @ u) / math.sqrt(3) for u in parts]).softmax(0)
        expected.append(sum(score * (weights[2] @ u) for score, u in zip(scores, parts, strict=True)))
    torch.testing.assert_close(transfer(before, own), torch.stack(expected))


def test_aitm_passes_on_from_step_to_step_and_never_back():
    model = built("aitm", calibrator=0.0)
    logits = model(rows()).logits
    assert {name for name in reached(logits[:, 0], model) if name.startswith("transfers")} == set()
    assert any(name.startswith("transfers") for name in reached(logits[:, 1], model))


def test_ple_mixes_a_tasks_own_experts_and_the_shared_ones():
    extras = built("ple", n_specific_experts=2, n_shared_experts=1, write_gates=True)(rows()).extras
    gates = torch.stack([extras[f"gate0_click_{expert}"] for expert in range(5)], dim=1)
    assert (gates[:, 2:4] == 0).all()  # those of buy
    assert (gates[:, [0, 1, 4]] > 0).all()


def test_the_shared_path_of_ple_mixes_all_experts_but_at_the_last_level():
    extras = built("ple", n_levels=2, n_specific_experts=1, n_shared_experts=1, write_gates=True)(rows()).extras
    assert (torch.stack([extras[f"gate0_shared_{expert}"] for expert in range(3)]) > 0).all()
    assert not any(name.startswith("gate1_shared") for name in extras)


def test_stem_reads_all_experts_and_trains_only_its_own_and_the_shared():
    model = built("stem", n_specific_experts=1, n_shared_experts=1, dropout=0.0, batch_norm=False)
    logits = model(rows()).logits
    named = reached(logits[:, 0], model)
    assert any(name.startswith("embeddings.0") for name in named)
    assert any(name.startswith("embeddings.2") for name in named)
    # The table of the other task moves this task's gate only through its own sum, so it is not reached at all.
    assert not any(name.startswith("embeddings.1") for name in named)
    grad = torch.autograd.grad(logits[:, 0].sum(), model.specific.layers[0].weight)[0]
    assert grad[0].abs().sum() > 0
    assert grad[1].abs().sum() == 0
    with torch.no_grad():
        model.specific.layers[0].weight[1].add_(1.0)
    assert not torch.allclose(model(rows()).logits[:, 0], logits[:, 0])


def test_features_of_one_task_reach_its_tower_alone():
    model = built("mmoe", task_features={"buy": ["price", "item"]}).eval()
    batch = rows()
    other = Batch(batch.sparse, batch.dense + torch.tensor([1.0, 0.0]), {})
    with torch.no_grad():
        model.towers.layers.layers[0].weight.normal_()
        before, after = model(batch).logits, model(other).logits
    assert torch.equal(before[:, 0], after[:, 0])
    assert not torch.allclose(before[:, 1], after[:, 1])


@pytest.mark.parametrize(
    ("own", "said"),
    [
        ({"bye": ["price"]}, "no label bye; there are click, buy"),
        ({"buy": ["cost"]}, "no feature cost; there are user, item, price, age"),
        ({"buy": ["user", "item", "price", "age"]}, "no feature for all tasks"),
    ],
)
def test_task_features_must_be_there_and_leave_some(own, said):
    with pytest.raises(SpecError, match=said):
        built("mmoe", task_features=own)


@pytest.mark.parametrize(
    ("groups", "said"),
    [
        ({"a": ["click"]}, "buy must be in one"),
        ({"a": ["click", "buy"], "b": ["buy"]}, "in 2"),
        ({"a": ["x"]}, "label x"),
    ],
)
def test_home_needs_every_label_in_one_group(groups, said):
    with pytest.raises(SpecError, match=said):
        built("home", groups=groups)


def test_home_experts_of_another_group_do_not_reach_a_task():
    model = built("home", groups={"a": ["click"], "b": ["buy"]}, n_experts=1, dropout=0.0)
    logits = model(rows()).logits
    grad = torch.autograd.grad(logits[:, 0].sum(), model.meta.experts.layers[0].weight)[0].abs().sum((1, 2))
    assert (grad > 1e-9).tolist() == [True, False, True]  # group a, group b, all
