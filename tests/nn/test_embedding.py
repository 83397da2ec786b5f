import pytest
import torch

from rechub_cli.batch import Batch, Jagged
from rechub_cli.errors import SpecError
from rechub_cli.nn.embedding import FeatureEmbedding
from rechub_cli.schema import Feature, Schema

USER = Feature("user", "sparse", 4, 10)
ITEM = Feature("item", "sparse", 4, 8)
PRICE = Feature("price", "dense")
VECTOR = Feature("vector", "vector", width=2)
POOL = {
    "mean": lambda rows: rows.mean(0),
    "sum": lambda rows: rows.sum(0),
    "max": lambda rows: rows.max(0).values,
    "none": lambda rows: rows,
}


def history(pooling: str = "mean", name: str = "hist", dim: int = 4) -> Feature:
    return Feature(name, "sequence", dim, 8, shares="item", pooling=pooling)


def new_batch(*sequences: str, dense: int = 1) -> Batch:
    torch.manual_seed(0)
    lists = Jagged(torch.tensor([4, 5, 3, 4, 4], dtype=torch.int32), torch.tensor([0, 2, 2, 5]))
    return Batch(
        torch.tensor([[3, 4], [9, 1], [3, 7]], dtype=torch.int32),
        torch.randn(3, dense),
        dict.fromkeys(sequences, lists),
    )


def test_fields_are_sparse_features_then_pooled_lists_then_embedded_numbers() -> None:
    age = Feature("age", "dense", 4, numeric_embedding="periodic")
    schema = Schema((age, history(), USER, PRICE, ITEM, VECTOR, history("none", "recent")))
    embedding = FeatureEmbedding(schema)
    batch = new_batch("hist", "recent", dense=4)
    embedded = embedding(batch)
    assert embedding.fields == ("user", "item", "hist", "age")
    assert (embedding.width, embedding.n_dense) == (16, 3)
    assert embedded.stacked.shape == (3, 4, 4)
    assert torch.equal(embedded.dense, batch.dense[:, 1:])
    assert torch.equal(embedded.all, torch.cat([embedded.flat, embedded.dense], dim=1))
    assert torch.equal(embedded.field("hist"), embedded.stacked[:, 2])


def test_each_id_is_looked_up_in_its_own_rows() -> None:
    embedding = FeatureEmbedding(Schema((USER, ITEM)), std=1.0)
    embedded = embedding(new_batch())
    state = embedding.state_dict()
    assert torch.equal(embedded.field("user"), state["tables.4.rows.user"][[3, 9, 3]])
    assert torch.equal(embedded.field("item"), state["tables.4.rows.item"][[4, 1, 7]])


@pytest.mark.parametrize("pooling", ["mean", "sum", "max"])
def test_a_shared_list_pools_the_rows_of_its_owner_and_an_empty_one_is_zero(pooling: str) -> None:
    embedding = FeatureEmbedding(Schema((USER, ITEM, history(pooling))), std=1.0)
    pooled = embedding(new_batch("hist")).field("hist")
    rows = embedding.state_dict()["tables.4.rows.item"][[4, 5, 3, 4, 4]]
    pool = POOL[pooling]
    torch.testing.assert_close(pooled, torch.stack([pool(rows[:2]), torch.zeros(4), pool(rows[2:])]))


def test_a_whole_list_keeps_its_offsets_and_trains_the_rows_of_its_owner() -> None:
    embedding = FeatureEmbedding(Schema((USER, ITEM, history("none"))), std=1.0)
    batch = new_batch("hist")
    embedded = embedding(batch)
    lists = embedded.sequences["hist"]
    assert torch.equal(lists.offsets, batch.sequences["hist"].offsets)
    assert torch.equal(lists.values, embedding.state_dict()["tables.4.rows.item"][[4, 5, 3, 4, 4]])
    lists.values.sum().backward()
    table = embedding.tables["4"]
    assert table.weight.grad[10 + 4].tolist() == [3.0] * 4


@pytest.mark.parametrize("pooling", ["mean", "sum", "max", "none"])
def test_features_of_several_widths_get_the_gradient_of_plain_torch(pooling: str) -> None:
    wide = Feature("city", "sparse", 2, 6)
    schema = Schema((USER, wide, history(pooling)))
    embedding = FeatureEmbedding(schema, std=1.0)
    batch = new_batch("hist")
    batch = Batch(batch.sparse % 6, batch.dense, batch.sequences)
    embedded = embedding(batch)
    loss = embedded.flat.pow(2).sum()
    if pooling == "none":
        loss = loss + embedded.sequences["hist"].values.pow(2).sum()
    loss.backward()

    plain = {name: rows.clone().requires_grad_() for name, rows in embedding.state_dict().items()}
    users, cities = (batch.sparse[:, column].long() for column in (0, 1))
    rows = plain["tables.4.rows.item"][batch.sequences["hist"].values.long()]
    lists = [rows[:2], rows[2:]]
    expected = sum(POOL[pooling](x).pow(2).sum() for x in lists)
    expected = expected + plain["tables.4.rows.user"][users].pow(2).sum()
    expected = expected + plain["tables.2.rows.city"][cities].pow(2).sum()
    expected.backward()
    torch.testing.assert_close(loss, expected)
    grads = {name: rows.grad for name, rows in plain.items()}
    four, two = embedding.tables["4"].weight.grad, embedding.tables["2"].weight.grad
    for name, grad, start in [("4.rows.user", four, 0), ("4.rows.item", four, 10), ("2.rows.city", two, 0)]:
        wanted = grads[f"tables.{name}"]
        wanted[0] = 0  # padding
        torch.testing.assert_close(grad[start : start + len(wanted)], wanted)


def test_the_owner_of_shared_rows_may_be_in_another_tower() -> None:
    schema = Schema((USER, history(), history("sum", "bought")))
    embedding = FeatureEmbedding(schema)
    assert set(embedding.state_dict()) == {"tables.4.rows.user", "tables.4.rows.item"}


def test_first_order_weights_share_the_look_up_and_give_the_same_result() -> None:
    schema = Schema((USER, ITEM, history("sum")))
    embedding, first_order = FeatureEmbedding(schema), FeatureEmbedding(schema, dim=1, std=1.0)
    batch = new_batch("hist")
    alone = first_order(batch)
    alone.flat.pow(2).sum().backward()
    table = first_order.tables["1"]
    grad, table.weight.grad = table.weight.grad, None
    embedded = embedding(batch)
    together = first_order(batch, like=embedded)
    (together.flat.pow(2).sum() + embedded.flat.sum()).backward()
    assert first_order.width == 3
    assert torch.equal(together.flat, alone.flat)
    assert torch.equal(table.weight.grad, grad)


def test_a_model_that_needs_one_width_says_which_features_differ() -> None:
    city = Feature("city", "sparse", 2, 6)
    assert FeatureEmbedding(Schema((USER, ITEM))).common_dim("fm") == 4
    with pytest.raises(SpecError, match=r"model fm .*4: user, item; 2: city"):
        FeatureEmbedding(Schema((USER, ITEM, city))).common_dim("fm")
    with pytest.raises(SpecError, match="at least one sparse feature"):
        FeatureEmbedding(Schema((PRICE,))).common_dim("fm")


def test_sharing_rows_of_another_width_is_an_error_that_names_both() -> None:
    with pytest.raises(SpecError, match=r"hist shares the rows of item.*\(2 and 4\)"):
        FeatureEmbedding(Schema((ITEM, history(dim=2))))


def test_numbers_alone_are_a_batch_too() -> None:
    embedded = FeatureEmbedding(Schema((PRICE,)))(new_batch())
    assert embedded.flat.shape == (3, 0)
    assert embedded.all.shape == (3, 1)


def test_a_batch_whose_lists_are_all_empty_trains() -> None:
    embedding = FeatureEmbedding(Schema((history("none"), history("max", "best"), history("mean", "liked"))))
    empty = Jagged(torch.empty(0, dtype=torch.int32), torch.zeros(3, dtype=torch.int64))
    batch = Batch(
        torch.empty(2, 0, dtype=torch.int32), torch.empty(2, 0), dict.fromkeys(("hist", "best", "liked"), empty)
    )
    for sparse_grad in (False, True):
        embedding.tables["4"].sparse_grad = sparse_grad
        embedded = embedding(batch)
        assert embedded.flat.tolist() == [[0.0] * 8] * 2
        (embedded.flat.sum() + embedded.sequences["hist"].values.sum()).backward()
        assert embedding.tables["4"].weight.grad.to_dense().abs().sum() == 0
        embedding.zero_grad()


def test_id_dropout_turns_known_ids_into_unseen_ones_in_training_only() -> None:
    feature = Feature("user", "sparse", 1, 100, oov_buckets=2, id_dropout=0.25)
    embedding = FeatureEmbedding(Schema((feature, ITEM)))
    embedding.tables["1"].weight.data = torch.arange(100.0)[:, None]  # a row says which id it is
    ids = torch.stack([torch.full((4000,), 50), torch.full((4000,), 5)], dim=1).int()
    ids[0, 0] = 1
    batch = Batch(ids, torch.empty(4000, 0))
    torch.manual_seed(0)
    seen = embedding.train()(batch).field("user").flatten()
    assert seen[0] == 1  # a missing id stays one
    assert set(seen[1:].tolist()) == {50.0, 2.0, 3.0}
    assert 0.22 < (seen[1:] != 50).float().mean() < 0.28
    assert torch.equal(embedding.eval()(batch).field("user").flatten(), ids[:, 0].float())
