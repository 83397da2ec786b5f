import pytest
import torch
from torch import nn

from rechub_cli.errors import SpecError
from rechub_cli.nn.table import EmbeddingTable
from rechub_cli.optim import LazyAdam, build_optimizers


class TwoTables(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.small, self.large = EmbeddingTable({"a": 10}, 4), EmbeddingTable({"b": 125_000}, 8)
        self.top = nn.Linear(4, 1)


def learning_rates(optimizers: list[torch.optim.Optimizer], weight: nn.Parameter) -> list[float]:
    """The learning rates of the groups that update a weight."""
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    return [group["lr"] for group in groups if any(one is weight for one in group["params"])]


def test_a_model_without_tables_gets_just_the_optimizer_it_was_given() -> None:
    calls = []

    def optimizer_fn(parameters, **params):
        calls.append(params)
        return torch.optim.Adam(parameters, **params)

    model = nn.Linear(3, 1)
    (optimizer,) = build_optimizers(model, optimizer_fn, {"lr": 0.1}, {"name": "lazy_adam"})
    assert calls == [{"lr": 0.1}]
    assert optimizer.param_groups[0]["params"] == list(model.parameters())


def test_auto_is_lazy_where_the_tables_are_large_together() -> None:
    model = TwoTables()
    dense, lazy = build_optimizers(model, torch.optim.Adam, {"lr": 0.1, "betas": (0.8, 0.9), "weight_decay": 0.5})
    assert isinstance(lazy, LazyAdam)
    tables = [model.small, model.large]
    assert {id(weight) for weight in lazy.param_groups[0]["params"]} == {id(table.weight) for table in tables}
    assert (lazy.defaults["lr"], lazy.defaults["betas"], lazy.defaults["weight_decay"]) == (0.1, (0.8, 0.9), 0.0)
    assert all(table.sparse_grad for table in tables)
    assert [group["weight_decay"] for group in dense.param_groups] == [0.5]
    del model.large
    (dense,) = build_optimizers(model, torch.optim.Adam)
    assert isinstance(dense, torch.optim.Adam)
    assert not model.small.sparse_grad


def test_auto_stays_with_an_optimizer_that_is_not_adam() -> None:
    model = TwoTables()
    assert [type(one) for one in build_optimizers(model, torch.optim.SGD, {"lr": 0.1})] == [torch.optim.SGD]
    assert not model.large.sparse_grad


@pytest.mark.parametrize(
    ("name", "lr", "expected"),
    [
        ("lazy_adam", None, 0.1),
        ("lazy_adam", 0.3, 0.3),
        ("rowwise_adagrad", None, 0.02),
        ("rowwise_adagrad", 0.3, 0.3),
        ("same", None, 0.1),
        ("same", 0.3, 0.3),
    ],
)
def test_every_weight_has_one_optimizer_and_the_tables_their_own_rate(name: str, lr: float, expected: float) -> None:
    model = TwoTables()
    optimizers = build_optimizers(model, torch.optim.Adam, {"lr": 0.1}, {"name": name, "lr": lr})
    assert len(optimizers) == (1 if name == "same" else 2)
    assert learning_rates(optimizers, model.top.weight) == [0.1]
    assert learning_rates(optimizers, model.top.bias) == [0.1]
    assert learning_rates(optimizers, model.small.weight) == [expected]
    assert learning_rates(optimizers, model.large.weight) == [expected]


@pytest.mark.parametrize("name", ["lazy_adam", "rowwise_adagrad", "same"])
def test_l2_pulls_looked_up_rows_to_zero_and_same_pulls_all_of_them(name: str) -> None:
    model = nn.Sequential(EmbeddingTable({"a": 10}, 4))
    table = model[0]
    with torch.no_grad():
        table.weight[3:] = 1.0
    (optimizer,) = build_optimizers(model, torch.optim.Adam, {"lr": 0.01}, {"name": name, "l2": 1.0})
    (table(torch.tensor([5], dtype=torch.int32)).sum() * 0).backward()
    optimizer.step()
    smaller = [row for row in range(3, 10) if table.weight[row].max() < 1]
    assert smaller == ([3, 4, 5, 6, 7, 8, 9] if name == "same" else [5])
    assert table.weight[:3].count_nonzero() == 0


def test_frozen_weights_are_left_out() -> None:
    model = TwoTables()
    model.large.weight.requires_grad_(False)
    model.top.bias.requires_grad_(False)
    optimizers = build_optimizers(model, torch.optim.Adam, {}, {"name": "lazy_adam"})
    assert [len(group["params"]) for one in optimizers for group in one.param_groups] == [1, 1]


def test_torch_is_asked_for_one_pass_where_it_has_one_and_nothing_else_was_asked() -> None:
    def fused(optimizer_fn, **params):
        return build_optimizers(TwoTables(), optimizer_fn, params)[0].defaults.get("fused")

    assert fused(torch.optim.Adagrad)
    assert fused(torch.optim.SGD)
    assert not fused(torch.optim.Adam, foreach=True)
    assert fused(torch.optim.RMSprop) is None


def test_what_cannot_be_done_is_said() -> None:
    with pytest.raises(SpecError, match=r"unknown embedding optimizer 'lazyadam'. Known: auto, lazy_adam"):
        build_optimizers(TwoTables(), torch.optim.Adam, {}, {"name": "lazyadam"})
    with pytest.raises(SpecError, match="Rprop has no weight decay"):
        build_optimizers(TwoTables(), torch.optim.Rprop, {}, {"name": "same", "l2": 0.1})
