"""On a GPU nobody counts distinct rows. Here the CPU does as a GPU does, and must learn the same."""

import copy

import pytest
import torch

from rechub_cli.batch import Jagged
from rechub_cli.kernels import loops
from rechub_cli.nn import rows
from rechub_cli.nn.request import Request
from rechub_cli.nn.table import EmbeddingTable
from rechub_cli.optim import LazyAdam, RowwiseAdagrad, add_regularization_grads, clip_grad_norm_
from rechub_cli.optim.gradients import dot, weighted_sum

SIZES = {"user": 40, "item": 50}


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    def switch():
        monkeypatch.setattr(loops, "library", lambda: None)
        monkeypatch.setattr(rows, "UNCOUNTED", ("cpu",))

    return switch


def new_table() -> EmbeddingTable:
    torch.manual_seed(0)
    return EmbeddingTable(SIZES, 3, std=1.0)


def request(seed: int, *, pooled: str | None = None, listed: bool = False) -> Request:
    random = torch.Generator().manual_seed(seed)

    def ids(*shape: int) -> torch.Tensor:
        return torch.randint(90, shape, generator=random, dtype=torch.int32)  # padding rows 0 and 40 too

    lists = [(Jagged(ids(9), torch.tensor([0, 2, 2, 7, 9])), pooled)] if pooled else []
    return Request(ids(4, 5), lists, ids(6) if listed else None)


def loss_of(table: EmbeddingTable, seed: int, **asked: object) -> torch.Tensor:
    answer = table.answer(request(seed, **asked))  # type: ignore[arg-type]
    return (answer.fields**2).sum() + (answer.listed**3).sum()


KINDS = [{}, {"listed": True}, {"pooled": "sum"}, {"pooled": "mean", "listed": True}]


@pytest.mark.parametrize("sparse_grad", [False, True])
@pytest.mark.parametrize("asked", KINDS, ids=str)
def test_gradients_are_the_same_numbers(as_on_a_gpu, asked, sparse_grad):
    grads = []
    for uncounted in (False, True):
        if uncounted:
            as_on_a_gpu()
        table = new_table()
        table.sparse_grad = sparse_grad
        (loss_of(table, 1, **asked) + loss_of(table, 2, **asked)).backward()
        assert table.weight.grad.is_sparse == sparse_grad
        if sparse_grad:
            found, values = rows.sparse_rows(table.weight.grad)
            assert found.tolist() == sorted(found.tolist())
            grads.append(rows.sparse_grad(found, values, table.weight.shape).to_dense())
        else:
            grads.append(table.weight.grad)
        assert not grads[-1][[0, 40]].any()
    torch.testing.assert_close(*grads)


@pytest.mark.parametrize("make", [LazyAdam, RowwiseAdagrad])
@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("clipped", [None, 0.5])
@pytest.mark.parametrize("penalties", [{}, {"embedding_l1": 0.1, "embedding_l2": 0.2}], ids=["plain", "penalties"])
def test_steps_lead_to_the_same_rows(as_on_a_gpu, make, decay, clipped, penalties):
    weights, norms = [], []
    for uncounted in (False, True):
        if uncounted:
            as_on_a_gpu()
        table = new_table()
        table.sparse_grad = True
        optimizer = make(table.parameters(), lr=0.1, weight_decay=decay)
        for seed in range(6):
            table.weight.grad = None
            loss_of(table, seed, listed=True).backward()
            add_regularization_grads(table, **penalties)
            if clipped is not None:
                norms.append(clip_grad_norm_(table.parameters(), clipped))
            optimizer.step()
        weights.append(table.weight.detach())
    torch.testing.assert_close(*weights)
    torch.testing.assert_close(norms[: len(norms) // 2], norms[len(norms) // 2 :])


def test_gradients_of_several_tasks_are_added_and_multiplied_alike(as_on_a_gpu):
    found = []
    for uncounted in (False, True):
        if uncounted:
            as_on_a_gpu()
        table = new_table()
        table.sparse_grad = True
        grads = [torch.autograd.grad(loss_of(table, seed), table.weight)[0] for seed in (1, 2, 1)]
        sums = [weighted_sum([grads[0], grads[other]], [torch.tensor(2.0), torch.tensor(3.0)]) for other in (1, 2)]
        products = [dot([grads[0]], [grads[other]]) for other in (1, 2)]
        found.append([*(total.to_dense() for total in sums), *products])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


def test_no_ids_are_no_rows(as_on_a_gpu):
    as_on_a_gpu()
    found, values = rows.sum_by_row(torch.empty(0, dtype=torch.int32), torch.empty(0, 3))
    assert (found.shape, values.shape) == ((0,), (0, 3))
    assert rows.as_repeated(found, values).shape == rows.only_once(found, values).shape == (0, 3)


def test_the_count_of_steps_is_kept_where_the_weight_is():
    """torch leaves it where it was saved, on the CPU, and its fused kernel then refuses."""
    weight = torch.nn.Parameter(torch.zeros(2, 1, device="meta"))
    optimizer = LazyAdam([weight])
    optimizer.state[weight] = {"step": torch.zeros(()), "exp_avg": torch.zeros(2, 1)}
    saved = copy.deepcopy(optimizer.state_dict())
    optimizer.load_state_dict(saved)
    assert {value.device.type for value in optimizer.state[weight].values()} == {"meta"}
