import pytest
import torch

from rechub_cli.batch import Batch, Jagged
from rechub_cli.errors import SpecError
from rechub_cli.nn.towers import IdAndMore, ItemVectors, TowerEmbedding, history_of, item_id, tower_mlp
from rechub_cli.optim import LazyAdam
from rechub_cli.schema import Feature, Schema

USER = Feature("user", "sparse", 4, 10, tower="user")
ITEM = Feature("item", "sparse", 4, 8, tower="item")
GENRE = Feature("genre", "sparse", 2, 6, tower="item")
PRICE = Feature("price", "dense", tower="item")
SEEN = Feature("seen.item", "sequence", 4, 8, shares="item", max_len=5, tower="user", history="seen")
SEEN_GENRE = Feature("seen.genre", "sequence", 2, 6, shares="genre", max_len=5, tower="user", history="seen")
SHOWN = Feature("shown", "sequence", 4, 8, shares="item", tower="user", role="negatives")
SCHEMA = Schema((USER, SEEN, SHOWN, SEEN_GENRE, ITEM, GENRE, PRICE))

HISTORY = Jagged(torch.tensor([4, 5, 3], dtype=torch.int32), torch.tensor([0, 2, 2, 3]))
USERS = Batch(
    torch.tensor([[3], [9], [4]], dtype=torch.int32),
    torch.empty(3, 0),
    {"seen.item": HISTORY, "shown": HISTORY, "seen.genre": HISTORY},
)
ITEMS = Batch(torch.tensor([[4, 3], [5, 2]], dtype=torch.int32), torch.tensor([[0.5], [2.0]]))


def test_a_history_looks_up_the_rows_of_the_item_tower() -> None:
    embedding = TowerEmbedding(SCHEMA)
    users, items = embedding.user(USERS), embedding.item(ITEMS)
    assert embedding.users.fields == ("user", "seen.item", "seen.genre")  # no negatives
    assert embedding.items.fields == ("item", "genre")
    assert torch.allclose(users.field("seen.item")[0], items.field("item").mean(0))
    assert torch.equal(items.dense, ITEMS.dense)
    assert sorted(embedding.state_dict()) == [
        "tables.2.rows.genre",
        "tables.4.rows.item",
        "tables.4.rows.user",
    ]


def test_both_towers_move_the_shared_rows_in_one_step() -> None:
    steps = []
    for sparse in (False, True):
        torch.manual_seed(0)
        embedding = TowerEmbedding(SCHEMA)
        table = embedding.tables["4"]
        table.sparse_grad = sparse
        users, items = embedding.user(USERS), embedding.item(ITEMS)
        (users.field("seen.item").sum() + 2 * items.field("item").sum()).backward()
        if sparse:
            start = table.weight.detach().clone()
            LazyAdam([table.weight], lr=1.0).step()
            moved = (table.weight != start).any(1)
            assert sorted((moved.nonzero()[:, 0] - table.row_offset("item")).tolist()) == [3, 4, 5]
        steps.append(table.weight.grad.to_dense())
    assert torch.equal(*steps)
    # Item 4: half of a mean of two, and twice itself.
    assert torch.equal(steps[0][table.row_offset("item") + 4], torch.full((4,), 2.5))


def test_a_tower_without_columns_is_refused() -> None:
    with pytest.raises(SpecError, match="none belongs to the item tower"):
        TowerEmbedding(Schema((USER,)))
    with pytest.raises(SpecError, match="none belongs to the user tower"):
        TowerEmbedding(Schema((SHOWN, ITEM)))


def test_a_tower_ends_in_a_linear_layer() -> None:
    torch.manual_seed(0)
    tower = tower_mlp("user_hidden_dims", 3, (8, 2))
    assert (tower(torch.randn(64, 3)) < 0).any()
    with pytest.raises(SpecError, match="user_hidden_dims: a tower needs at least one layer"):
        tower_mlp("user_hidden_dims", 3, ())


def test_the_history_is_the_sequence_that_shares_the_items_id_and_what_is_aligned_with_it() -> None:
    assert item_id(SCHEMA, "m") is ITEM
    assert history_of(SCHEMA, "m") == (SEEN, SEEN_GENRE)
    by_genre_first = Schema((USER, SEEN, SEEN_GENRE, GENRE, ITEM))
    assert item_id(by_genre_first, "m") is GENRE  # the first that is looked up
    assert history_of(by_genre_first, "m") == (SEEN_GENRE, SEEN)


def test_several_histories_need_a_name() -> None:
    bought = Feature("bought", "sequence", 4, 8, shares="item", tower="user")
    schema = Schema((USER, SEEN, SEEN_GENRE, bought, ITEM, GENRE))
    with pytest.raises(SpecError, match=r"mind takes one history of items; say model\.params\.history: one of seen"):
        history_of(schema, "mind")
    assert history_of(schema, "mind", "bought") == (bought,)
    assert history_of(schema, "mind", "seen") == (SEEN, SEEN_GENRE)
    with pytest.raises(SpecError, match="history: sold is no history of items"):
        history_of(schema, "mind", "sold")
    with pytest.raises(SpecError, match="mind needs the user's history of items"):
        history_of(Schema((USER, SHOWN, ITEM)), "mind")
    with pytest.raises(SpecError, match="a sparse feature with `tower: item`"):
        history_of(Schema((USER, PRICE)), "mind")


def test_an_item_with_an_id_alone_is_its_embedding() -> None:
    embedding = TowerEmbedding(Schema((USER, ITEM)))
    vectors = ItemVectors(embedding, ITEM)
    items = embedding.item(Batch(ITEMS.sparse[:, :1], torch.empty(2, 0)))
    assert torch.equal(vectors(items), items.field("item"))
    assert not list(vectors.parameters())


def test_other_columns_are_added_to_the_items_id() -> None:
    torch.manual_seed(0)
    embedding = TowerEmbedding(SCHEMA)
    vectors = ItemVectors(embedding, ITEM)
    items = embedding.item(ITEMS)
    assert isinstance(vectors.vector, IdAndMore)
    assert vectors.vector.more is not None
    more = torch.cat([items.field("genre"), items.dense], dim=1) @ vectors.vector.more.weight.t()
    assert torch.allclose(vectors(items), items.field("item") + more)
