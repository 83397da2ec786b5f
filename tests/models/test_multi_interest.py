"""What the multi-interest models of other toolkits get wrong."""

from dataclasses import replace

import pytest
import torch

from rechub_cli import plugins
from rechub_cli.batch import Batch, Jagged
from rechub_cli.errors import SpecError
from rechub_cli.testing import MATCH_SCHEMA, match_rows

NAMES = ("mind", "comirec_dr", "comirec_sa")
BARE = MATCH_SCHEMA.with_features(MATCH_SCHEMA[name] for name in ("hist.item_id", "item_id"))  # no profile
LONG = MATCH_SCHEMA.with_features(
    replace(feature, max_len=64) if feature.kind == "sequence" else feature for feature in MATCH_SCHEMA.features
)


def build(name: str, schema=MATCH_SCHEMA, **options):
    torch.manual_seed(0)
    return plugins.load("models", name)(schema, **options).eval()


def histories(*lengths: int) -> Batch:
    """Users that differ in nothing but how many events they have."""
    offsets = torch.tensor([0, *lengths]).cumsum(0)
    values = torch.arange(sum(lengths)).remainder(match_rows.ITEMS).int()
    return Batch(
        torch.full((len(lengths), 1), match_rows.KNOWN, dtype=torch.int32),
        torch.zeros(len(lengths), 1),
        {
            "hist.item_id": Jagged(match_rows.KNOWN + values, offsets),
            "hist.genre": Jagged(match_rows.KNOWN + values % match_rows.GENRES, offsets),
        },
    )


def present(vectors: torch.Tensor) -> list[int]:
    return vectors.ne(0).any(2).sum(1).tolist()


def test_mind_gives_a_short_history_fewer_interests() -> None:
    users = histories(0, 1, 2, 3, 4, 7, 8, 15, 16, 31, 64)
    assert present(build("mind", LONG).embed_users(users)) == [1, 1, 1, 1, 2, 2, 3, 3, 4, 4, 4]
    assert present(build("mind", LONG, interests=3).embed_users(users))[-3:] == [3, 3, 3]
    assert present(build("mind", LONG, dynamic_interests=False).embed_users(users)) == [4] * 11


@pytest.mark.parametrize("name", ["comirec_dr", "comirec_sa"])
def test_a_user_without_history_has_the_one_interest_of_newcomers(name: str) -> None:
    model = build(name, BARE)
    users = model.embed_users(histories(0, 5, 0))
    assert present(users) == [1, 4, 1]
    assert torch.equal(users[0], users[2])


@pytest.mark.parametrize("name", NAMES)
def test_an_absent_interest_never_wins(name: str) -> None:
    model, items = build(name, normalize=False, temperature=1.0), match_rows.catalogue().slice(0, 1)
    with torch.no_grad():
        users = model.embed_users(histories(0))
        for parameter in model.vector.parameters():
            parameter.zero_()
        # The one interest there is scores below zero, the zero vectors of the others score zero.
        model.tower.embedding.tables["8"].rows("item_id")[match_rows.KNOWN] = -users[0, 0]
        score = model(histories(0), items).logits
    assert present(users) == [1]
    assert torch.allclose(score, -users[0, 0].square().sum().view(1, 1))
    assert score < 0


@pytest.mark.parametrize("name", NAMES)
def test_routing_starts_from_the_same_weights_in_every_process(name: str) -> None:
    model = build(name)
    state, users = model.state_dict(), match_rows.some_users(8)
    torch.manual_seed(99)  # another process draws other numbers
    fresh = plugins.load("models", name)(MATCH_SCHEMA).eval()
    fresh.load_state_dict(state)
    assert torch.equal(fresh.embed_users(users), model.embed_users(users))
    assert model.embed_users(users).abs().max() < 100  # no memory that was never written to


@pytest.mark.parametrize("name", NAMES)
def test_interests_of_one_user_differ(name: str) -> None:
    vectors = build(name, LONG).embed_users(histories(40))[0]
    distances = torch.cdist(vectors, vectors)[~torch.eye(4, dtype=torch.bool)]
    assert (distances > 1e-4).all()


@pytest.mark.parametrize("name", NAMES)
def test_histories_need_not_fill_their_length(name: str) -> None:
    model = build(name, LONG)
    users = histories(3, 64)
    assert torch.allclose(model.embed_users(users)[:1], model.embed_users(users.slice(0, 1)), atol=1e-6)


def test_mind_pays_attention_to_the_target_and_skips_absent_interests() -> None:
    users = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]])
    target = torch.tensor([[2.0, 1.0]])
    even = build("mind", attention_power=1e-9).select_interest(users, target)
    assert torch.allclose(even, torch.tensor([[0.5, 0.5]]), atol=1e-3)
    hard = build("mind", attention_power=50.0).select_interest(users, target)
    assert torch.allclose(hard, torch.tensor([[1.0, 0.0]]))
    weights = (torch.tensor([2.0, 1.0]) / 0.5).softmax(0)
    assert torch.allclose(build("mind", temperature=0.5).select_interest(users, target), weights[None])


@pytest.mark.parametrize("name", ["comirec_dr", "comirec_sa"])
def test_comirec_trains_the_interest_that_serving_takes(name: str) -> None:
    model = build(name)
    users, items = model.embed_users(match_rows.some_users(8)), model.embed_items(match_rows.catalogue().slice(0, 8))
    chosen = (model.select_interest(users, items) * items).sum(1, keepdim=True)
    served = model(match_rows.some_users(8), match_rows.catalogue().slice(0, 8)).logits
    assert torch.allclose(chosen / model.temperature, served, atol=1e-6)


def test_comirec_sa_counts_places_from_the_newest_event() -> None:
    model = build("comirec_sa", BARE, interests=1, normalize=False)
    with torch.no_grad():
        model.places.zero_()
        model.places[0] = 20.0  # attention that asks for this place finds the newest event
        model.attention[0].weight.fill_(0.1)
        model.attention[2].weight.fill_(10.0)
        rows = model.tower.embedding.tables["8"].rows("item_id")
        users = histories(2, 5)
        newest = rows[users.sequences["hist.item_id"].values[torch.tensor([1, 6])].long()]
    assert torch.allclose(model.embed_users(users)[:, 0], newest, atol=1e-4)


def test_options_that_make_no_model_are_refused() -> None:
    for name in NAMES:
        with pytest.raises(SpecError, match="interests: must be at least 1"):
            build(name, interests=0)
        with pytest.raises(SpecError, match=f"{name} needs the user's history of items"):
            build(name, MATCH_SCHEMA.with_features(f for f in MATCH_SCHEMA.features if f.kind != "sequence"))
    with pytest.raises(SpecError, match="attention_power: must be above 0"):
        build("mind", attention_power=0.0)
    with pytest.raises(SpecError, match="routing_iterations: must be at least 1"):
        build("comirec_dr", routing_iterations=0)
    with pytest.raises(SpecError, match="attention_dim: must be at least 1"):
        build("comirec_sa", attention_dim=0)
    item = replace(MATCH_SCHEMA["hist.item_id"], name="bought", history=None)
    with pytest.raises(SpecError, match=r"say model\.params\.history: one of hist\.item_id, bought"):
        build("mind", MATCH_SCHEMA.with_features((*MATCH_SCHEMA.features, item)))
