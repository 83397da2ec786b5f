import copy

import pytest
import torch
from torch import Tensor

from rechub_cli.optim import LazyAdam


def sparse(rows: list[int], values: Tensor, size: int) -> Tensor:
    return torch.sparse_coo_tensor(torch.tensor([rows]), values, (size, values.shape[1]), check_invariants=True)


def new_weight(size: int, dim: int = 3) -> torch.nn.Parameter:
    torch.manual_seed(0)
    return torch.nn.Parameter(torch.randn(size, dim))


@pytest.mark.parametrize("size", [50, 6000])  # one block of rows, and several
def test_it_equals_sparse_adam_of_torch(size: int) -> None:
    ours, theirs = new_weight(size, 16), new_weight(size, 16)
    lazy = LazyAdam([ours], lr=0.05, betas=(0.8, 0.95), eps=1e-12)
    reference = torch.optim.SparseAdam([theirs], lr=0.05, betas=(0.8, 0.95), eps=1e-12)
    for step in range(5):
        rows = torch.randperm(size)[: size - 7 * (step + 1)].tolist()  # in no order; some rows rest
        ours.grad = sparse(rows, torch.randn(len(rows), 16), size)
        theirs.grad = ours.grad.clone()
        lazy.step()
        reference.step()
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_it_equals_adam_where_every_row_has_a_gradient(weight_decay: float) -> None:
    ours, dense, theirs = new_weight(8), new_weight(8), new_weight(8)
    lazy = LazyAdam([ours], lr=0.05, weight_decay=weight_decay)
    lazy_dense = LazyAdam([dense], lr=0.05, weight_decay=weight_decay)
    reference = torch.optim.Adam([theirs], lr=0.05, weight_decay=weight_decay)
    for _ in range(10):
        grad = torch.randn(8, 3)
        ours.grad, dense.grad, theirs.grad = sparse(list(range(8)), grad, 8), grad.clone(), grad.clone()
        for optimizer in (lazy, lazy_dense, reference):
            optimizer.step()
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(dense, theirs)


def test_rows_without_a_gradient_rest_and_the_bias_counts_all_steps() -> None:
    weight = torch.nn.Parameter(torch.ones(3, 1))
    optimizer = LazyAdam([weight], lr=0.1, betas=(0.9, 0.99), eps=0.0, weight_decay=0.5)
    weight.grad = sparse([0], torch.tensor([[0.5]]), 3)
    optimizer.step()  # gradient 0.5 + 0.5 * 1: the first step of Adam is lr
    assert weight.flatten().tolist() == pytest.approx([0.9, 1.0, 1.0])
    weight.grad = sparse([2], torch.tensor([[1.5]]), 3)
    optimizer.step()  # gradient 2, mean 0.2 / 0.19, square 0.04 / 0.0199
    assert weight.flatten().tolist() == pytest.approx([0.9, 1.0, 1 - 0.1 * (0.2 / 0.19) / (0.04 / 0.0199) ** 0.5])


def test_a_row_that_occurs_twice_gets_the_sum() -> None:
    once, twice = new_weight(4), new_weight(4)
    once.grad = sparse([1], torch.tensor([[1.0, 2.0, 3.0]]), 4)
    twice.grad = sparse([1, 1], torch.tensor([[0.5, 2.5, 1.0], [0.5, -0.5, 2.0]]), 4)
    LazyAdam([once]).step()
    LazyAdam([twice]).step()
    torch.testing.assert_close(once, twice)


def test_the_gradient_itself_is_left_as_it_was() -> None:
    weight = new_weight(4)
    weight.grad = sparse([1, 2], torch.ones(2, 3), 4).coalesce()
    LazyAdam([weight], weight_decay=0.1).step()
    assert torch.equal(weight.grad.values(), torch.ones(2, 3))


def test_a_batch_without_rows_changes_nothing() -> None:
    weight = new_weight(4)
    before = weight.detach().clone()
    weight.grad = sparse([], torch.empty(0, 3), 4)
    LazyAdam([weight]).step()
    assert torch.equal(weight, before)


def test_a_restored_state_goes_on_as_if_nothing_had_happened() -> None:
    weight = new_weight(6)
    optimizer = LazyAdam([weight], lr=0.1)
    grads = [sparse([step, step + 1], torch.randn(2, 3), 6) for step in range(4)]
    for grad in grads[:2]:
        weight.grad = grad
        optimizer.step()
    other = torch.nn.Parameter(weight.detach().clone())
    restored = LazyAdam([other], lr=0.5)
    restored.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for grad in grads[2:]:
        weight.grad = other.grad = grad
        optimizer.step()
        restored.step()
    assert torch.equal(weight, other)


@pytest.mark.parametrize("size", [1, 8])
def test_sparse_and_dense_gradients_may_take_turns(size: int) -> None:
    ours, theirs = new_weight(size), new_weight(size)
    lazy, reference = LazyAdam([ours], lr=0.05), torch.optim.Adam([theirs], lr=0.05)
    for step in range(6):
        grad = torch.randn(size, 3)
        ours.grad = grad.clone() if step in (2, 3) else sparse(list(range(size)), grad, size)
        theirs.grad = grad
        lazy.step()
        reference.step()
    torch.testing.assert_close(ours, theirs)
    for name in ("exp_avg", "exp_avg_sq"):
        torch.testing.assert_close(lazy.state[ours][name], reference.state[theirs][name])


def test_moments_that_lie_apart_go_on_as_if_nothing_had_happened() -> None:
    weight, other = new_weight(6), new_weight(6)
    one, two = LazyAdam([weight]), LazyAdam([other])
    for step in range(4):
        weight.grad = other.grad = sparse([step, step + 1], torch.randn(2, 3), 6)
        one.step()
        two.step()
        for name, value in two.state[other].items():  # as a checkpoint gives them back
            two.state[other][name] = value.contiguous()
    assert torch.equal(weight, other)


def test_schedulers_of_torch_drive_it() -> None:
    optimizer = LazyAdam([new_weight(2)], lr=1.0)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
    optimizer.step()
    scheduler.step()
    assert optimizer.param_groups[0]["lr"] == 0.5
