"""Retrieval metrics and the ranks they are computed from: values known by eye, or counted the slow way."""

import math

import numpy as np
import pytest
import torch

from rechub_cli.batch import Jagged
from rechub_cli.nn.ranks import MISSED, Ranking, ranks
from rechub_cli.trainers.ranked import load_metrics

inf = torch.inf


def targets(*rows):
    values = torch.tensor([place for row in rows for place in row])
    return Jagged(values, torch.tensor([0, *np.cumsum([len(row) for row in rows])]))


def ranking(*rows, top=None, counts=(1, 1, 1, 1)):
    flat = np.array([rank for row in rows for rank in row], np.int64)
    starts = np.r_[0, np.cumsum([len(row) for row in rows])].astype(np.int64)
    return Ranking(flat, starts, np.array(counts), None if top is None else np.array(top))


def value(name, found):
    return load_metrics([name])[name](found)


@pytest.mark.parametrize(
    ("row", "places", "expected"),
    [
        ([5.0, 4.0, 3.0], [1], [2]),
        ([5.0, 4.0, 4.0], [1], [3]),  # an equal score stands before the target
        ([4.0, 4.0, 4.0], [0], [3]),  # a model that says one thing of all is last
        ([5.0, -inf, 3.0], [2], [2]),  # what is left out does not count
        ([5.0, -inf, 3.0], [1], [MISSED]),
        ([5.0, 4.0, 3.0], [-1], [MISSED]),
        ([5.0, 4.0, 3.0], [2, 0], [1, 3]),
        ([5.0, 5.0, 3.0], [0, 1], [1, 2]),  # targets do not hinder each other
        ([5.0, 5.0, 5.0], [0, 1], [2, 3]),  # but another item does
        ([5.0, 4.0, 3.0], [-1, 2, -1], [3, MISSED, MISSED]),
    ],
)
def test_rank(row, places, expected):
    assert ranks(torch.tensor([row]), targets(places)).tolist() == expected


def test_ranks_of_many_rows_are_those_of_a_sort():
    random = np.random.default_rng(0)
    scores = random.integers(0, 20, (50, 30)).astype(np.float32)
    wanted = [random.choice(30, random.integers(1, 6), replace=False).tolist() for _ in range(50)]
    expected = []
    for row, places in zip(scores, wanted, strict=True):
        relevant = np.isin(np.arange(30), places)
        order = np.lexsort((relevant, -row))  # of equal items the relevant ones come last
        expected += sorted((np.flatnonzero(relevant[order]) + 1).tolist())
    assert ranks(torch.from_numpy(scores), targets(*wanted)).tolist() == expected


# Queries: one hit at rank 2 of one relevant item; hits at 1 and 4 of three; a miss.
THREE = ranking([2], [1, 4, 30], [MISSED])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("recall@2", (1 + 1 / 3 + 0) / 3),
        ("recall@4", (1 + 2 / 3 + 0) / 3),
        ("hr@1", 1 / 3),
        ("hr@2", 2 / 3),
        ("precision@4", (1 / 4 + 2 / 4 + 0) / 3),
        ("mrr", (1 / 2 + 1 + 0) / 3),
        ("mrr@1", (0 + 1 + 0) / 3),
        ("map@4", (1 / 2 + (1 + 2 / 4) / 3 + 0) / 3),
        ("map@2", (1 / 2 + 1 / 2 + 0) / 3),  # two of the three relevant items are the most that fit
        ("ndcg@1", (0 + 1 + 0) / 3),
        (
            "ndcg@4",
            (1 / math.log2(3) + (1 + 1 / math.log2(5)) / (1 + 1 / math.log2(3) + 1 / 2) + 0) / 3,
        ),
    ],
)
def test_value(name, expected):
    assert value(name, THREE) == pytest.approx(expected)


def test_all_ranks_count_where_no_k_is_given():
    assert value("map", ranking([1, 4])) == pytest.approx((1 + 2 / 4) / 2)
    assert value("ndcg", ranking([100])) == pytest.approx(1 / math.log2(101))


def test_coverage_counts_each_item_once_and_no_gaps():
    assert value("coverage@2", ranking([1], [1], top=[[0, 1, 3], [1, -1, -1]])) == 2 / 4


def test_rare_items_are_new():
    counts = [13, 0, 1, 1]  # smoothed: 14, 1, 2, 2 of 19
    assert value("novelty@1", ranking([1], top=[[1, 0]], counts=counts)) == pytest.approx(math.log2(19))
    assert value("novelty@2", ranking([1], top=[[1, 0]], counts=counts)) == pytest.approx(
        (math.log2(19) + math.log2(19 / 14)) / 2
    )


@pytest.mark.parametrize("name", ["recall@5", "hr@5", "precision@5", "mrr", "map", "ndcg", "coverage@5", "novelty@5"])
def test_without_queries_nothing_is_said(name):
    assert math.isnan(value(name, ranking(top=np.empty((0, 5), np.int64))))
