"""What the two-tower models of other toolkits get wrong."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from rechub_cli import plugins
from rechub_cli.errors import SpecError
from rechub_cli.schema import Feature
from rechub_cli.testing import MATCH_SCHEMA, match_rows

NAMES = ("dssm", "facebook_dssm", "senet_dssm", "youtube_sbc")


def build(name: str, schema=MATCH_SCHEMA, **options):
    torch.manual_seed(0)
    return plugins.load("models", name)(schema, **options)


@pytest.mark.parametrize("name", NAMES)
def test_a_temperature_lets_the_pointwise_loss_of_a_cosine_fall(name: str) -> None:
    # Without one, a sigmoid of a cosine ends at 0.269 and 0.731, and the loss cannot go below 0.313.
    model = build(name, temperature=0.05)
    users, items = match_rows.some_users(16), match_rows.catalogue()
    users = replace(users, sparse=(match_rows.KNOWN + torch.arange(16) % match_rows.USERS)[:, None].int())
    labels = (torch.arange(16)[:, None] % 2).float()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(60):
        optimizer.zero_grad()
        loss = F.binary_cross_entropy_with_logits(model(users, items).logits, labels)
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1


@pytest.mark.parametrize("name", NAMES)
def test_vectors_have_length_one_in_training_and_in_export(name: str) -> None:
    model = build(name)
    users, items = match_rows.some_users(6), match_rows.catalogue()
    for mode in (True, False):
        model.train(mode)
        for vectors in (model.embed_users(users), model.embed_items(items)):
            assert torch.allclose(vectors.norm(dim=1), torch.ones(len(vectors)), atol=1e-5)
    assert not torch.allclose(build(name, normalize=False).embed_items(items).norm(dim=1), torch.ones(len(items)))


@pytest.mark.parametrize("name", [*NAMES, "youtube_dnn"])
def test_positives_negatives_and_histories_are_rows_of_one_table(name: str) -> None:
    model = build(name)
    assert [key for key in model.state_dict() if key.endswith(("rows.item_id", "rows.hist.item_id", "rows.shown"))] == [
        key for key in model.state_dict() if key.endswith("rows.item_id")
    ]
    model.embed_users(match_rows.some_users(4)).sum().backward()
    with torch.no_grad():
        before = model.embed_items(match_rows.catalogue())
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter -= parameter.grad
        assert not torch.equal(before, model.embed_items(match_rows.catalogue()))


@pytest.mark.parametrize("name", [*NAMES, "youtube_dnn"])
def test_a_batch_of_any_size_needs_no_option(name: str) -> None:
    model = build(name)
    for size in (3, 1):  # youtube_sbc elsewhere wants the batch size, and breaks on a last batch that is shorter
        assert model(match_rows.some_users(size), match_rows.catalogue().slice(0, size)).logits.shape == (size, 1)


@pytest.mark.parametrize("name", NAMES)
def test_a_user_of_nothing_known_ranks_items_without_an_error(name: str) -> None:
    model = build(name)
    for parameter in model.parameters():
        torch.nn.init.zeros_(parameter)
    assert model.embed_users(match_rows.some_users(2)).eq(0).all()  # not NaN: 0 / 0


def test_the_users_vector_points_anywhere() -> None:
    vectors = build("dssm").embed_users(match_rows.some_users(32))
    assert (vectors < 0).float().mean() > 0.2  # no ReLU at the end, which leaves only angles below 90 degrees


def test_youtube_dnn_searches_among_the_items_own_embeddings() -> None:
    schema = MATCH_SCHEMA.with_features(f for f in MATCH_SCHEMA.features if f.name not in ("genre", "price"))
    items = match_rows.catalogue()
    model = build("youtube_dnn", schema, hidden_dims=[16], normalize=False)
    items = replace(items, sparse=items.sparse[:, :1], dense=items.dense[:, :0])
    rows = model.state_dict()["embedding.tables.8.rows.item_id"]
    assert torch.equal(model.embed_items(items), rows[items.sparse[:, 0].long()])
    assert model.embed_users(match_rows.some_users(3)).shape == (3, 8)


def test_senet_weighs_the_fields_of_each_tower() -> None:
    model, plain = build("senet_dssm"), build("dssm")
    plain.load_state_dict({name: value for name, value in model.state_dict().items() if "senet" not in name})
    users = match_rows.some_users(8)
    assert not torch.allclose(model.embed_users(users), plain.embed_users(users))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "excite" in name:
                parameter.zero_()  # every weight is 1
    assert torch.allclose(model.embed_users(users), plain.embed_users(users), atol=1e-6)


def test_options_that_make_no_model_are_refused() -> None:
    with pytest.raises(SpecError, match=r"both towers end in the same width, got \[8\] and \[4\]"):
        build("dssm", user_hidden_dims=[8], item_hidden_dims=[4])
    with pytest.raises(SpecError, match="user_hidden_dims: a tower needs at least one layer"):
        build("dssm", user_hidden_dims=[], item_hidden_dims=[])
    with pytest.raises(SpecError, match="reduction: must be at least 1"):
        build("senet_dssm", reduction=0)
    whole = MATCH_SCHEMA.with_features(
        replace(f, pooling="none") if f.name == "hist.genre" else f for f in MATCH_SCHEMA.features
    )
    for name in (*NAMES, "youtube_dnn"):
        with pytest.raises(SpecError, match=rf"features\.hist\.genre\.pooling: {name} takes one vector"):
            build(name, whole)
    numbers = MATCH_SCHEMA.with_features((MATCH_SCHEMA["age"], Feature("price", "dense", tower="item")))
    assert build("dssm", numbers).embed_users(replace(match_rows.some_users(2), sequences={})).shape == (2, 64)
    with pytest.raises(SpecError, match="youtube_dnn needs the item's id"):
        build("youtube_dnn", numbers)
