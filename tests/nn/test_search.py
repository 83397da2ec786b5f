"""Exact search: what it finds, in which order, and what it leaves out."""

import numpy as np
import pytest
import torch

from rechub_cli.batch import Jagged
from rechub_cli.nn import search


def by_sorting(scores, k):
    """The k highest of each row as numpy sorts them: equal ones in the order of their columns."""
    places = np.argsort(-scores.numpy(), axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores.numpy(), places, 1), places


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("items", [7, 40, 2_000, 70_001])  # all, plain, in groups, in two blocks of items
def test_the_best_are_those_of_a_sort(items):
    users, vectors = drawn(9, 8), drawn(items, 8, seed=1)
    scores, places = search.top_k(users, vectors, 10)
    expected_scores, expected_places = by_sorting(users @ vectors.T, 10)
    assert places.tolist() == expected_places.tolist()
    np.testing.assert_allclose(scores.numpy(), expected_scores, rtol=1e-6)


@pytest.mark.parametrize("items", [40, 3_000, 70_001])
def test_of_equal_items_the_lower_place_comes_first(items):
    users = torch.ones(3, 1)
    vectors = torch.arange(items).remainder(3).float()[:, None]  # a third of the items share the highest score
    _, places = search.top_k(users, vectors, 12)
    assert places.tolist() == [list(range(2, 36, 3))] * 3


def test_equal_items_within_the_list_keep_their_order():
    scores = torch.tensor([[1.0, 3.0, 2.0, 3.0, 2.0, 0.0]])
    assert search.best(scores, 4)[1].tolist() == [[1, 3, 2, 4]]


def test_more_than_there_are_gives_all():
    scores, places = search.top_k(torch.ones(2, 1), torch.tensor([[1.0], [2.0]]), 5)
    assert places.tolist() == [[1, 0]] * 2
    assert scores.tolist() == [[2.0, 1.0]] * 2


def test_excluded_items_are_not_found_even_where_none_is_left():
    left_out = Jagged(torch.tensor([1, 0, 1, 2, -1]), torch.tensor([0, 1, 5]))
    scores, places = search.top_k(torch.ones(2, 1), torch.tensor([[1.0], [3.0], [2.0]]), 2, left_out)
    assert places.tolist() == [[2, 0], [-1, -1]]
    assert scores.tolist() == [[2.0, 1.0], [-torch.inf] * 2]


def test_exclusion_reaches_items_of_a_later_block():
    vectors = torch.arange(70_001).float()[:, None]
    left_out = Jagged(torch.tensor([70_000, 69_998]), torch.tensor([0, 2]))
    assert search.top_k(torch.ones(1, 1), vectors, 3, left_out)[1].tolist() == [[69_999, 69_997, 69_996]]


def test_the_keenest_interest_speaks_for_the_user():
    users, vectors = drawn(5, 3, 8), drawn(300, 8, seed=1)
    expected = (users @ vectors.T).amax(1)
    assert search.top_k(users, vectors, 10)[1].tolist() == by_sorting(expected, 10)[1].tolist()


def test_an_unused_interest_never_wins():
    users = torch.tensor([[[1.0], [0.0]]])  # zeros would score 0, above every item here
    vectors = torch.tensor([[-2.0], [-1.0], [-3.0]])
    scores, places = search.top_k(users, vectors, 3)
    assert places.tolist() == [[1, 0, 2]]
    assert scores.tolist() == [[-1.0, -2.0, -3.0]]
    assert search.relevance(torch.zeros(1, 2, 1), vectors).tolist() == [[0.0, 0.0, 0.0]]


def test_a_relevance_that_is_not_a_number_comes_last():
    vectors = torch.tensor([[torch.nan], [-5.0], [1.0]])
    assert search.top_k(torch.ones(1, 1), vectors, 3)[1].tolist() == [[2, 1, 0]]


def test_nobody_finds_nothing():
    scores, places = search.top_k(torch.empty(0, 4), drawn(10, 4), 3)
    assert scores.shape == places.shape == (0, 3)
