import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from rechub_cli.batch import Jagged
from rechub_cli.nn.request import Request
from rechub_cli.nn.rows import sparse_rows
from rechub_cli.nn.table import EmbeddingTable


def new_table(dim: int = 3) -> EmbeddingTable:
    torch.manual_seed(0)
    return EmbeddingTable({"user": 6, "item": 5}, dim, std=1.0)


def ids(*values: int) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.int32)


def test_features_lie_one_after_the_other_and_reserved_rows_start_at_zero() -> None:
    table = EmbeddingTable({"user": 6, "item": 8}, 3, std=1.0, oov_buckets={"item": 4})
    assert (table.row_offset("user"), table.row_offset("item")) == (0, 6)
    zero_rows = (table.weight == 0).all(dim=1).nonzero().flatten().tolist()
    assert zero_rows == [0, 1, 2, 6, 7, 8, 9, 10, 11]


def test_a_look_up_keeps_the_shape_of_its_ids() -> None:
    table = new_table()
    wanted = ids(3, 4, 9, 3).view(2, 2)
    assert torch.equal(table(wanted), table.weight[wanted.long()])


@pytest.mark.parametrize("sparse_grad", [False, True])
def test_the_gradient_of_a_row_is_the_sum_over_its_occurrences_and_none_for_padding(sparse_grad: bool) -> None:
    table = new_table(dim=2)
    table.sparse_grad = sparse_grad
    table(ids(3, 0, 3, 6, 9, 3)).backward(torch.arange(12.0).view(6, 2))
    grad = table.weight.grad
    assert grad is not None
    assert grad.is_sparse == sparse_grad
    expected = torch.zeros(11, 2)
    expected[3] = torch.tensor([0.0 + 4 + 10, 1.0 + 5 + 11])
    expected[9] = torch.tensor([8.0, 9.0])
    assert torch.equal(grad.to_dense() if sparse_grad else grad, expected)


def test_sparse_gradients_arrive_as_distinct_rising_rows() -> None:
    table = new_table()
    table.sparse_grad = True
    table(ids(9, 3, 9, 4, 3)).sum().backward()
    assert table.weight.grad is not None
    assert table.weight.grad._indices().tolist() == [[3, 4, 9]]


def test_sparse_gradients_of_two_look_ups_are_added() -> None:
    table = new_table(dim=2)
    table.sparse_grad = True
    (table(ids(9, 3)).sum() + 2 * table(ids(3, 4)).sum()).backward()
    assert table.weight.grad is not None
    rows, values = sparse_rows(table.weight.grad)
    assert rows.tolist() == [3, 4, 9]
    assert values[:, 0].tolist() == [3.0, 2.0, 1.0]


def test_a_padding_row_is_never_mistaken_for_a_neighbour() -> None:
    table = new_table(dim=1)  # padding rows 0 and 6; the batch has neither, nor any row after 5
    table(ids(5)).sum().backward()
    assert table.weight.grad is not None
    assert table.weight.grad.flatten().nonzero().flatten().tolist() == [5]


@pytest.mark.parametrize("mode", ["mean", "sum"])
@pytest.mark.parametrize("with_list", [False, True])
def test_pooled_and_listed_rows_equal_plain_torch(mode: str, with_list: bool) -> None:
    table = new_table()
    plain = table.weight.detach().clone().requires_grad_()
    fixed = ids(3, 7, 4, 9).view(2, 2)
    history = Jagged(ids(3, 4, 3, 5), torch.tensor([0, 0, 4]))
    listed = ids(9, 4) if with_list else None
    answer = table.answer(Request(fixed, [(history, mode)], listed))
    fields, rows = answer.fields, answer.listed

    pooled = plain[history.values.long()].sum(0) / (4 if mode == "mean" else 1)
    expected = torch.stack([torch.stack([*plain[[3, 7]], torch.zeros(3)]), torch.stack([*plain[[4, 9]], pooled])])
    torch.testing.assert_close(fields, expected)

    upstream = torch.randn(2, 3, 3)
    loss, expected_loss = (fields * upstream).sum(), (expected * upstream).sum()
    if listed is not None:
        torch.testing.assert_close(rows, plain[listed.long()])
        loss, expected_loss = loss + rows.pow(2).sum(), expected_loss + plain[listed.long()].pow(2).sum()
    loss.backward()
    expected_loss.backward()
    torch.testing.assert_close(table.weight.grad, plain.grad)


def test_a_popular_batch_has_the_gradient_of_torch_embedding() -> None:
    torch.manual_seed(1)
    table = EmbeddingTable({"a": 5000}, 16, std=1.0)
    looked_up = (torch.rand(4096, 26) ** 4 * 4997).int() + 3
    upstream = torch.randn(4096, 26, 16)
    table(looked_up).backward(upstream)
    plain = table.weight.detach().clone().requires_grad_()
    F.embedding(looked_up, plain).backward(upstream)
    torch.testing.assert_close(table.weight.grad, plain.grad, rtol=1e-4, atol=1e-3)


def test_a_state_dict_holds_the_rows_of_each_feature_and_comes_back(tmp_path) -> None:
    table = new_table()
    state = table.state_dict()
    assert {name: tuple(rows.shape) for name, rows in state.items()} == {"rows.user": (6, 3), "rows.item": (5, 3)}
    save_file({name: rows.contiguous() for name, rows in state.items()}, tmp_path / "table.safetensors")
    other = EmbeddingTable({"item": 5, "user": 6}, 3)  # another order: other offsets
    other.load_state_dict(load_file(tmp_path / "table.safetensors"))
    assert torch.equal(other.rows("user"), table.rows("user"))
    assert torch.equal(other.rows("item"), table.rows("item"))


def test_a_state_dict_of_another_model_is_refused_like_torch_does() -> None:
    table = new_table()
    wrong = {"rows.user": torch.zeros(7, 3), "rows.shop": torch.zeros(1, 3)}
    with pytest.raises(RuntimeError) as failure:
        torch.nn.Sequential(table).load_state_dict({f"0.{name}": rows for name, rows in wrong.items()})
    message = str(failure.value)
    assert "size mismatch for 0.rows.user" in message
    assert 'Missing key(s) in state_dict: "0.rows.item"' in message
    assert 'Unexpected key(s) in state_dict: "0.rows.shop"' in message
