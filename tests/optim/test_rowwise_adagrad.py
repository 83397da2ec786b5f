import pytest
import torch

from rechub_cli.optim import RowwiseAdagrad


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("size", [20, 6000])  # one block of rows, and several
def test_it_follows_the_plain_formula_row_by_row(size: int, weight_decay: float) -> None:
    torch.manual_seed(0)
    weight = torch.nn.Parameter(torch.randn(size, 16))
    optimizer = RowwiseAdagrad([weight], lr=0.1, eps=1e-4, weight_decay=weight_decay)
    expected, total = weight.detach().clone(), torch.zeros(size)
    for _ in range(3):
        rows = torch.randint(size, (size // 2,))  # some occur twice
        values = torch.randn(len(rows), 16)
        weight.grad = torch.sparse_coo_tensor(rows[None], values, weight.shape, check_invariants=True)
        optimizer.step()
        grad = torch.zeros_like(expected).index_add_(0, rows, values)
        for row in rows.unique():
            row_grad = grad[row] + weight_decay * expected[row]
            total[row] += row_grad.pow(2).mean()
            expected[row] -= 0.1 * row_grad / (total[row].sqrt() + 1e-4)
    torch.testing.assert_close(weight.detach(), expected)


def test_a_dense_gradient_updates_every_row_alike() -> None:
    torch.manual_seed(0)
    start, grad = torch.randn(5, 4), torch.randn(5, 4)
    dense, sparse = torch.nn.Parameter(start.clone()), torch.nn.Parameter(start.clone())
    dense.grad, sparse.grad = grad, grad.to_sparse(1)
    RowwiseAdagrad([dense]).step()
    RowwiseAdagrad([sparse]).step()
    torch.testing.assert_close(dense, sparse, rtol=1e-6, atol=1e-6)


def test_its_state_is_one_number_for_each_row() -> None:
    weight = torch.nn.Parameter(torch.ones(5, 4))
    weight.grad = torch.ones(5, 4)
    optimizer = RowwiseAdagrad([weight])
    optimizer.step()
    assert {name: value.shape for name, value in optimizer.state[weight].items()} == {"sum": (5,)}
