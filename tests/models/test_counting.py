"""The baselines that count: what they learn from a few users, and that it can be kept."""

import math
from importlib.metadata import entry_points

import pytest
import torch
from safetensors.torch import load, save

from rechub_cli.batch import Batch, Jagged
from rechub_cli.errors import SpecError
from rechub_cli.schema import Schema

# Four users; items 0 and 1 always go together, 2 and 3 mostly, nobody has 4.
USERS = [[0, 1], [1, 0, 2], [2, 3], [3, 2]]
N_ITEMS = 5


def jagged(lists):
    lengths = torch.tensor([0, *map(len, lists)])
    return Jagged(torch.tensor([place for row in lists for place in row], dtype=torch.int32), lengths.cumsum(0))


def rows(lists):
    return Batch(torch.zeros(len(lists), 0, dtype=torch.int32), torch.zeros(len(lists), 0), seen=jagged(lists))


def counted(name, **options):
    (entry,) = [entry for entry in entry_points(group="rechub.models") if entry.name == name]
    model = entry.load()(Schema(()), **options)
    model.count(jagged(USERS), N_ITEMS)
    return model


def test_popular_scores_an_item_by_the_users_who_have_it():
    scores = counted("popular").score_catalogue(rows([[0], []]))
    assert scores.tolist() == [[2, 2, 3, 2, 0]] * 2


def test_item_knn_sums_the_cosines_with_the_users_items():
    scores = counted("item_knn").score_catalogue(rows([[0], [3, 0], []]))
    two = 2 / math.sqrt(2 * 3)
    torch.testing.assert_close(scores[0], torch.tensor([0, 1, 1 / math.sqrt(6), 0, 0]))
    torch.testing.assert_close(scores[1], torch.tensor([0, 1, 1 / math.sqrt(6) + two, 0, 0]))
    assert not scores[2].any()


def test_item_knn_keeps_the_nearest_items_of_each_candidate():
    scores = counted("item_knn", k=1).score_catalogue(rows([[0]]))
    assert scores[0].tolist() == [0, 1, 0, 0, 0], "item 2 is nearest to 3, so 0 no longer speaks for it"


def test_item_knn_shrinks_what_few_users_have():
    scores = counted("item_knn", shrink=2.0).score_catalogue(rows([[0]]))
    torch.testing.assert_close(scores[0], torch.tensor([0, 2 / (2 + 2), 1 / (math.sqrt(6) + 2), 0, 0]))


def test_ease_solves_its_least_squares():
    model = counted("ease", l2=0.5)
    weight = model.weight.double()
    have = torch.zeros(len(USERS), N_ITEMS, dtype=torch.float64)
    for user, places in enumerate(USERS):
        have[user, places] = 1
    gradient = have.T @ (have @ weight - have) + 0.5 * weight
    assert not weight.diagonal().any()
    off = gradient - torch.diag(gradient.diagonal())
    assert off.abs().max() < 1e-5, "no weight off the diagonal could be better"
    torch.testing.assert_close(model.score_catalogue(rows([[0, 2], []]))[0].double(), weight[0] + weight[2])
    assert not model.score_catalogue(rows([[]])).any()


@pytest.mark.parametrize("name", ["popular", "item_knn", "ease"])
def test_a_new_model_that_loads_what_was_counted_scores_the_same(name):
    model = counted(name)
    fresh = type(model)(Schema(()))
    fresh.load_state_dict(load(save({key: value.contiguous() for key, value in model.state_dict().items()})))
    batch = rows([[0], [1, 2], []])
    assert torch.equal(model.score_catalogue(batch), fresh.score_catalogue(batch))


def test_ease_says_that_a_catalogue_does_not_fit():
    (entry,) = [entry for entry in entry_points(group="rechub.models") if entry.name == "ease"]
    with pytest.raises(SpecError, match=r"10,000,000 items take 1200000\.0 GB.*item_knn"):
        entry.load()(Schema(())).count(jagged(USERS), 10_000_000)


@pytest.mark.parametrize(
    ("name", "options"), [("item_knn", {"k": 0}), ("item_knn", {"shrink": -1}), ("ease", {"l2": 0})]
)
def test_options_that_make_no_sense_are_refused_by_name(name, options):
    with pytest.raises(SpecError, match=next(iter(options))):
        counted(name, **options)
