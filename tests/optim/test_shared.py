"""Which parameters several tasks share, and passes through them, dense and of sparse rows alike."""

import pytest
import torch
from torch import nn

from rechub_cli import plugins
from rechub_cli.errors import SpecError
from rechub_cli.nn.table import EmbeddingTable
from rechub_cli.optim.shared import Shared
from rechub_cli.schema import Task
from rechub_cli.testing.ranking import _rows, schema_of

TASKS = [Task("a"), Task("b")]


class Bottom(nn.Module):
    """Two towers on one layer."""

    def __init__(self):
        super().__init__()
        self.bottom = nn.Sequential(nn.Linear(3, 4), nn.ReLU())
        self.towers = nn.ModuleList(nn.Linear(4, 1) for _ in TASKS)

    def forward(self, x):
        hidden = self.bottom(x)
        return torch.cat([tower(hidden) for tower in self.towers], dim=1)


class Experts(nn.Module):
    """One expert a task and a shared one, in one tensor; so are the towers."""

    def __init__(self):
        super().__init__()
        self.experts = nn.Parameter(torch.randn(3, 3, 4))
        self.towers = nn.Parameter(torch.randn(2, 4, 1))

    def forward(self, x):
        own_a, own_b, shared = torch.einsum("bi,eio->ebo", x, self.experts)
        return torch.bmm(torch.stack([own_a + shared, own_b + shared]), self.towers).squeeze(2).T


class Gated(Experts):
    """Mixed by gates that are 0 for the expert of the other task; the shared expert is a parameter of its own."""

    def __init__(self):
        super().__init__()
        self.common = nn.Parameter(torch.randn(1, 3, 4))
        self.experts = nn.Parameter(torch.randn(2, 3, 4))

    def forward(self, x):
        experts = torch.einsum("bi,eio->beo", x, torch.cat([self.experts, self.common]))
        gates = torch.tensor([[0.3, 0.0, 0.7], [0.0, 0.6, 0.4]])
        return torch.bmm(torch.einsum("te,beo->tbo", gates, experts), self.towers).squeeze(2).T


class Apart(nn.Module):
    """Nothing is shared."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(3, 1) for _ in TASKS)

    def forward(self, x):
        return torch.cat([layer(x) for layer in self.layers], dim=1)


def seen(model, x=None, **given):
    shared = Shared(model, **given)
    shared.observe(model(torch.randn(8, 3) if x is None else x))
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return [names[id(p)] for p in shared.parameters], [names[id(p)] for p in shared.last]


def test_shared_is_what_every_task_depends_on_and_last_its_last_matrix():
    assert seen(Bottom()) == (["bottom.0.weight", "bottom.0.bias"], ["bottom.0.weight"])


def test_towers_that_start_at_zero_and_dead_rows_do_not_hide_what_is_shared():
    model = Bottom()
    for tower in model.towers:
        nn.init.zeros_(tower.weight)
    with torch.no_grad():
        model.bottom[0].bias[:3] = -100.0  # three of four units are dead
    assert seen(model)[0] == ["bottom.0.weight", "bottom.0.bias"]


def test_parts_of_one_tensor_are_told_apart():
    assert seen(Experts()) == (["experts"], ["experts"])
    assert seen(Gated()) == (["common"], ["common"])


def test_a_frozen_parameter_is_not_shared():
    model = Bottom()
    model.bottom[0].weight.requires_grad_(False)
    assert seen(model) == (["bottom.0.bias"], ["bottom.0.bias"])


def test_a_model_may_say_and_a_caller_overrule_it():
    class Saying(Bottom):
        def shared_parameters(self):
            return [self.bottom[0].weight]

        def last_shared_parameters(self):
            return iter([self.bottom[0].bias])

    model = Saying()
    assert seen(model) == (["bottom.0.weight"], ["bottom.0.bias"])
    assert seen(model, last=model.bottom.parameters())[1] == ["bottom.0.weight", "bottom.0.bias"]
    assert seen(model, parameters=[model.bottom[0].bias])[0] == ["bottom.0.bias"]
    with pytest.raises(SpecError, match="last_shared_parameters must name parameters of the model"):
        Shared(model, last=[nn.Parameter(torch.ones(1))])


def test_nothing_shared_is_told():
    with pytest.raises(SpecError, match="no parameter is shared by all tasks"):
        seen(Apart())


@pytest.mark.parametrize("method", ["equal", "metabalance", "pcgrad"])
def test_the_loss_beside_the_tasks_and_unshared_parameters_get_the_plain_sum(method):
    """With relax_factor 0 and without conflicts every method is the sum."""
    torch.manual_seed(0)
    model, x = Bottom(), torch.rand(8, 3)
    options = {"relax_factor": 0.0} if method == "metabalance" else {}
    for tower in model.towers:
        nn.init.constant_(tower.weight, 0.3)

    values = model(x)
    (values.mean(0) * torch.tensor([1.0, 2.0])).sum().add(values.square().mean()).backward()
    expected = [parameter.grad for parameter in model.parameters()]

    model.zero_grad()
    values = model(x)
    shared = Shared(model)
    shared.observe(values, values.square().mean())
    weighting = plugins.load("weightings", method)(TASKS, **options)
    weighting.backward([values[:, 0].mean(), 2 * values[:, 1].mean()], shared)
    torch.testing.assert_close([parameter.grad for parameter in model.parameters()], expected)


class Tabled(nn.Module):
    """Rows of a table below two towers."""

    def __init__(self, sparse):
        super().__init__()
        torch.manual_seed(0)
        self.table = EmbeddingTable({"x": 50}, 4, std=1.0)
        self.table.sparse_grad = sparse
        self.towers = nn.ModuleList(nn.Linear(4, 1) for _ in TASKS)

    def forward(self, ids):
        return torch.cat([tower(self.table(ids).sum(1)) for tower in self.towers], dim=1)


@pytest.mark.parametrize("name", ["gradnorm", "metabalance", "pcgrad"])
def test_rows_of_a_table_get_the_gradient_they_would_get_as_a_whole(name):
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(2, 50, (16, 3), generator=generator, dtype=torch.int32)
    grads = []
    for sparse in (False, True):
        model = Tabled(sparse)
        weighting = plugins.load("weightings", name)(TASKS)
        shared = Shared(model)
        values = model(ids)
        shared.observe(values)
        weighting.backward([values[:, 0].square().mean(), 50 * values[:8, 1].mean()], shared)
        assert model.table.weight.grad.is_sparse == sparse
        grads.append(model.table.weight.grad.to_dense() if sparse else model.table.weight.grad)
    assert grads[0].abs().sum() > 0
    torch.testing.assert_close(*grads)


def test_gradients_of_different_rows_are_joined():
    """Two towers, each with rows of its own in a foreign sparse embedding."""

    class Own(nn.Module):
        def __init__(self, sparse):
            super().__init__()
            torch.manual_seed(0)
            self.rows = nn.Embedding(10, 2, sparse=sparse)

        def forward(self, ids):
            return torch.stack([self.rows(ids[:, 0]).sum(1), self.rows(ids[:, 1]).sum(1)], dim=1)

    ids = torch.tensor([[1, 2], [2, 5], [1, 7]])
    for name in ("metabalance", "pcgrad"):
        grads = []
        for sparse in (False, True):
            model = Own(sparse)
            values = model(ids)
            shared = Shared(model, parameters=[model.rows.weight])
            shared.observe(values)
            losses = [values[:, 0].square().mean(), -3 * values[:, 1].square().mean()]
            plugins.load("weightings", name)(TASKS).backward(losses, shared)
            grad = model.rows.weight.grad
            grads.append(grad.to_dense() if sparse else grad)
        torch.testing.assert_close(*grads)


@pytest.mark.parametrize("name", ["metabalance", "pcgrad"])
def test_a_fused_optimizer_takes_the_gradients_as_they_are_meant(name):
    """It reads them in the order of memory, whatever their strides; those of batched products are often turned."""
    left = []
    for fused in (False, True):
        torch.manual_seed(0)
        model = plugins.load("models", "mmoe")(schema_of(plugins.load("models", "mmoe")), dropout=0.0)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, fused=fused)
        for size in (30, 40):
            optimizer.zero_grad()
            values = model(_rows(size)).logits
            shared = Shared(model)
            shared.observe(values)
            losses = [values[:, 0].square().mean(), (values[:, 1] - 1).square().mean()]
            plugins.load("weightings", name)(TASKS).backward(losses, shared)
            optimizer.step()
        left.append(list(model.parameters()))
    torch.testing.assert_close(*left)
