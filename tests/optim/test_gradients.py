"""What happens to gradients between ``backward`` and the optimizer's step."""

import pytest
import torch
from torch import nn

from rechub_cli.nn.table import EmbeddingTable
from rechub_cli.optim import add_regularization_grads, clip_grad_norm_


def new_model(sparse_grad: bool = False) -> nn.ModuleDict:
    torch.manual_seed(0)
    table = EmbeddingTable({"a": 9}, 4, std=1.0)
    table.sparse_grad = sparse_grad
    return nn.ModuleDict(
        {"table": table, "norm": nn.BatchNorm1d(4), "top": nn.Linear(4, 1), "foreign": nn.Embedding(5, 4)}
    )


def loss_of(model: nn.ModuleDict) -> torch.Tensor:
    ids = torch.tensor([3, 5, 3, 8], dtype=torch.int32)
    return model["top"](model["norm"](model["table"](ids) + model["foreign"](ids % 5))).pow(2).sum()


def dense_grads(model: nn.ModuleDict) -> list[torch.Tensor]:
    return [parameter.grad.to_dense().clone() for parameter in model.parameters()]


@pytest.mark.parametrize("sparse_grad", [False, True])
@pytest.mark.parametrize("max_norm", [0.01, 1e9])
def test_clipping_equals_torch_and_counts_sparse_rows_once(max_norm: float, sparse_grad: bool) -> None:
    ours, theirs = new_model(sparse_grad), new_model()
    for model in (ours, theirs):
        (loss_of(model) + model["table"](torch.tensor([5], dtype=torch.int32)).sum()).backward()
    norm = clip_grad_norm_(ours.parameters(), max_norm)
    expected = nn.utils.clip_grad_norm_(theirs.parameters(), max_norm)
    torch.testing.assert_close(norm, expected)
    torch.testing.assert_close(dense_grads(ours), dense_grads(theirs))


def test_clipping_without_gradients_is_zero() -> None:
    assert clip_grad_norm_(nn.Linear(2, 1).parameters(), 1.0) == 0


def test_the_penalty_gives_the_gradient_of_adding_it_to_the_loss() -> None:
    rates = {"embedding_l1": 0.1, "embedding_l2": 0.2, "dense_l1": 0.3, "dense_l2": 0.4}
    ours, theirs = new_model(), new_model()
    loss_of(ours).backward()
    add_regularization_grads(ours, **rates)

    loss = loss_of(theirs)
    for name in ("table", "foreign"):
        weight = theirs[name].weight
        loss = loss + 0.1 * weight.abs().sum() + 0.2 * weight.pow(2).sum()
    for weight in theirs["top"].parameters():
        loss = loss + 0.3 * weight.abs().sum() + 0.4 * weight.pow(2).sum()
    loss.backward()
    torch.testing.assert_close(dense_grads(ours), dense_grads(theirs))


def test_of_a_sparse_table_only_the_rows_of_the_batch_are_penalized() -> None:
    model = new_model(sparse_grad=True)
    loss_of(model).backward()
    before = model["table"].weight.grad.to_dense()
    add_regularization_grads(model, embedding_l2=0.5)
    change = model["table"].weight.grad.to_dense() - before
    assert change.abs().sum(dim=1).nonzero().flatten().tolist() == [3, 5, 8]
    torch.testing.assert_close(change[[3, 5, 8]], model["table"].weight.detach()[[3, 5, 8]])


def test_no_penalty_leaves_no_gradient() -> None:
    model = new_model()
    add_regularization_grads(model)
    assert all(parameter.grad is None for parameter in model.parameters())
