"""Models of a user's sequence of events: what their papers say, and what other toolkits get wrong."""

import pytest
import torch
import torch.nn.functional as F

from rechub_cli import plugins
from rechub_cli.batch import Batch, Jagged
from rechub_cli.errors import SpecError
from rechub_cli.testing import MATCH_SCHEMA, match_rows

SEQUENTIAL = ("sasrec", "gru4rec", "narm", "stamp")
BARE = MATCH_SCHEMA.with_features(MATCH_SCHEMA[name] for name in ("hist.item_id", "item_id"))


def build(name, schema=BARE, **options):
    torch.manual_seed(0)
    return plugins.load("models", name)(schema, **options)


def users(*histories, targets=True):
    """Rows of these places; every event but the first is a target."""
    lengths = torch.tensor([len(history) for history in histories])
    places = torch.tensor([place for history in histories for place in history], dtype=torch.int32)
    none = torch.zeros(len(histories), 0)
    batch = Batch(
        none.int(), none, {"hist.item_id": Jagged(places + match_rows.KNOWN, F.pad(lengths.cumsum(0), (1, 0)))}
    )
    if not targets:
        return batch
    pairs = [(n, history[n]) for history in histories for n in range(1, len(history))]
    offsets = F.pad((lengths - 1).clamp(min=0).cumsum(0), (1, 0))
    return Batch(none.int(), none, batch.sequences, targets=Jagged(torch.tensor(pairs, dtype=torch.int32), offsets))


def catalogue():
    places = torch.arange(match_rows.ITEMS, dtype=torch.int32)
    return Batch(places[:, None] + match_rows.KNOWN, torch.zeros(match_rows.ITEMS, 0))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("sasrec", {"dropout": 0.0}),
        ("gru4rec", {"dropout": 0.0}),
        ("narm", {"embedding_dropout": 0.0, "session_dropout": 0.0}),
        ("stamp", {}),
    ],
)
def test_the_order_of_events_is_learned(name, options):
    # 5 is followed by 6 or by 4, as the event before says: neither the bag of events nor the last one tells.
    random = torch.Generator().manual_seed(1)
    starts = torch.randint(16, (32,), generator=random).tolist()
    histories = [[(start + way * n) % 16 for n in range(4)] for start in starts for way in (1, -1)]
    batch = users(*[history[:-1] for history in histories], targets=False)
    places = torch.tensor([history[-1] for history in histories])
    targets = Jagged(torch.stack([torch.full_like(places, 3), places], 1).int(), torch.arange(len(places) + 1))
    batch = Batch(batch.sparse, batch.dense, batch.sequences, targets=targets)
    model = build(name, **options)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(60):
        optimizer.zero_grad()
        F.cross_entropy(model.encode_positions(batch) @ model.embed_items(catalogue()).t(), places).backward()
        optimizer.step()
    model.eval()
    hits = (model.encode_positions(batch) @ model.embed_items(catalogue()).t()).argmax(1) == places
    assert hits.float().mean() > 0.9  # gru4rec elsewhere trains on a sum over the wrong axis and learns nothing


@pytest.mark.parametrize("name", SEQUENTIAL)
def test_histories_of_all_lengths_and_none_share_a_batch(name):
    model = build(name).eval()
    vectors = model.embed_users(users([3], [], [1, 2, 3, 4, 5, 6], targets=False))
    assert vectors[0].abs().sum() > 0
    assert not vectors[1].any()  # nothing is known of this user
    assert model.encode_positions(users([3], [], [1, 2])).shape == (1, 8)
    assert model.embed_users(users([], targets=False)).tolist() == [[0.0] * 8]


@pytest.mark.parametrize("name", SEQUENTIAL)
def test_nothing_but_the_history_is_read_of_the_user(name):
    model = build(name, MATCH_SCHEMA).eval()
    assert not [key for key in model.state_dict() if key.endswith("rows.user_id")]
    batch = match_rows.some_users(4)
    everything, histories = model.embed_users(batch), model.embed_users(match_rows.histories_only(batch))
    assert torch.equal(everything, histories)


@pytest.mark.parametrize("name", SEQUENTIAL)
def test_columns_of_a_history_add_to_its_events(name):
    model = build(name, MATCH_SCHEMA).eval()
    batch = match_rows.some_users(4)
    genres = batch.sequences["hist.genre"]
    other = Jagged((genres.values - match_rows.KNOWN + 1) % match_rows.GENRES + match_rows.KNOWN, genres.offsets)
    changed = Batch(batch.sparse, batch.dense, {**batch.sequences, "hist.genre": other})
    assert not torch.allclose(model.embed_users(batch), model.embed_users(changed))


@pytest.mark.parametrize("name", SEQUENTIAL)
def test_states_before_targets_need_targets(name):
    with pytest.raises(ValueError, match="a batch with targets"):
        build(name).encode_positions(users([1, 2], targets=False))


def test_narm_is_the_last_state_beside_the_weighed_states():
    model, places = build("narm").eval(), [4, 7, 7, 1]
    rows = model.tower.events(users(places, targets=False)).values
    states = model.recurrent(rows, torch.tensor([0, 4]))
    query = model.query(states[-1:])
    weights = torch.sigmoid(query + model.key(states)) @ model.attention.weight
    both = torch.cat([states[-1], weights @ states])
    torch.testing.assert_close(model.embed_users(users(places, targets=False))[0], model.decoder.weight @ both)


def test_stamp_is_the_product_of_the_session_and_its_last_event():
    model, places = build("stamp").eval(), [4, 7, 7, 1]
    events = model.tower.events(users(places, targets=False)).values
    last, mean = events[-1], events.mean(0)
    weights = torch.sigmoid(model.key(events) + model.of_last(last) + model.of_mean(mean)) @ model.attention.weight
    expected = torch.tanh(model.general(weights @ events + mean)) * torch.tanh(model.current(last))
    torch.testing.assert_close(model.embed_users(users(places, targets=False))[0], expected)


def test_sine_takes_histories_of_any_length():
    model = build("sine").eval()
    together = model.embed_users(users([3], [1, 2, 3, 4, 5, 6], [7, 8], targets=False))
    alone = [model.embed_users(users(row, targets=False)) for row in ([3], [1, 2, 3, 4, 5, 6], [7, 8])]
    torch.testing.assert_close(together, torch.cat(alone))


def test_sine_gathers_interests_for_the_chosen_concepts_alone():
    model, user = build("sine", concepts=8, interests=2).eval(), users([3, 4], targets=False)
    with torch.no_grad():
        before, moved = model.embed_users(user), []
        for concept in model.concepts:
            concept *= 1.001
            moved.append(not torch.equal(model.embed_users(user), before))
            concept /= 1.001
    assert sum(moved) == 2


def test_sine_knows_new_events_from_old_ones():
    model = build("sine").eval()
    old_to_new, new_to_old = model.embed_users(users([3, 4, 5], [5, 4, 3], targets=False))
    assert not torch.allclose(old_to_new, new_to_old)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("sasrec", {"n_heads": 3}, "3 heads do not divide the item's embed_dim of 8"),
        ("sasrec", {"n_blocks": 0}, "n_blocks: must be at least 1"),
        ("sasrec", {"dropout": 1.0}, "dropout: .* less than 1, got 1.0"),
        ("gru4rec", {"hidden_dim": 0}, "hidden_dim: must be at least 1"),
        ("narm", {"session_dropout": -0.1}, "session_dropout: .* got -0.1"),
        ("sine", {"concepts": 2}, "concepts: 4 interests need as many concepts, got 2"),
    ],
)
def test_options_that_make_no_model_are_refused(name, options, message):
    with pytest.raises(SpecError, match=message):
        build(name, **options)


@pytest.mark.parametrize("name", [*SEQUENTIAL, "sine"])
def test_a_history_of_items_is_needed(name):
    with pytest.raises(SpecError, match=f"{name} needs the user's history of items"):
        build(name, BARE.with_features([BARE["item_id"], MATCH_SCHEMA["user_id"]]))
