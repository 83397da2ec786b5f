"""Values known by eye, or recomputed the slow way."""

import math

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from rechub_cli import plugins
from rechub_cli.plugins import load_metric

EVERY = [name for name in plugins.names("metrics") if plugins.find("metrics", name).module.startswith("rechub_cli.")]


def value(name, labels, scores, weights=None, group=None):
    arrays = [None if a is None else np.asarray(a) for a in (labels, scores, weights, group)]
    return load_metric(name)(*arrays)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("auc", 0.75),  # of the four pairs, 0.3 over 0.4 is wrong
        ("accuracy", 0.75),
        ("precision", 1.0),
        ("recall", 0.5),
        ("f1", 2 / 3),
        ("mse", (0.3**2 + 0.2**2 + 0.7**2 + 0.4**2) / 4),
        ("rmse", math.sqrt((0.3**2 + 0.2**2 + 0.7**2 + 0.4**2) / 4)),
        ("mae", 0.4),
        ("calibration", 1.6 / 2),
        ("logloss", -(math.log(0.7) + math.log(0.8) + math.log(0.3) + math.log(0.6)) / 4),
        ("ne", -(math.log(0.7) + math.log(0.8) + math.log(0.3) + math.log(0.6)) / 4 / math.log(2)),
    ],
)
def test_four_rows(name, expected):
    assert value(name, [1.0, 0.0, 1.0, 0.0], [0.7, 0.2, 0.3, 0.4]) == pytest.approx(expected)


def test_ece_is_zero_where_each_bin_keeps_its_promise():
    assert value("ece", [1.0, 0.0, 0.0, 0.0], [0.25] * 4) == pytest.approx(0.0)
    assert value("ece", [1.0, 1.0, 0.0, 0.0], [0.25] * 4) == pytest.approx(0.25)


def test_ece_does_not_let_two_wrong_bins_cancel_out():
    assert value("ece", [1.0, 0.0], [0.0, 1.0]) == pytest.approx(1.0)


@pytest.mark.parametrize("name", ["auc", "gauc", "ne"])
def test_one_class_of_label_is_undefined_without_a_warning(name):
    assert math.isnan(value(name, [1.0, 1.0], [0.2, 0.4], group=[1, 1]))


@pytest.mark.parametrize("name", ["precision", "recall", "calibration", "ndcg", "mrr", "gauc"])
def test_no_positive_row_is_undefined(name):
    assert math.isnan(value(name, [0.0, 0.0], [0.2, 0.4], group=[1, 1]))


@pytest.mark.parametrize("name", EVERY)
def test_no_rows_are_undefined(name):
    empty = np.zeros(0)
    assert math.isnan(value(name, empty, empty, group=np.zeros(0, np.int64)))


@pytest.mark.parametrize("name", sorted(set(EVERY) - {"ndcg", "mrr"}))
def test_a_weight_of_two_counts_like_two_rows(name):
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 60).astype(np.float32)
    scores = random.random(60, np.float32).round(1)
    group = random.integers(0, 5, 60)
    weights = random.integers(1, 4, 60).astype(np.float32)
    times = weights.astype(int)
    repeated = value(name, labels.repeat(times), scores.repeat(times), None, group.repeat(times))
    assert value(name, labels, scores, weights, group) == pytest.approx(repeated)


def test_gauc_is_the_mean_of_the_groups_by_their_rows():
    labels = [1.0, 0.0, 1.0, 0.0, 0.0, 1.0]
    scores = [0.9, 0.1, 0.2, 0.3, 0.1, 0.9]
    group = [7, 7, 8, 8, 8, 9]  # AUC 1 of two rows, 0.5 of three, undefined
    assert value("gauc", labels, scores, group=group) == pytest.approx((2 * 1 + 3 * 0.5) / 5)


def test_gauc_equals_scikit_learn_group_by_group():
    random = np.random.default_rng(1)
    labels, scores = random.integers(0, 2, 2000).astype(np.float32), random.random(2000).round(2)
    weights, group = random.random(2000), random.integers(-50, 50, 2000)
    total = weight = 0.0
    for one in np.unique(group):
        rows = group == one
        if labels[rows].min() == labels[rows].max():
            continue
        total += weights[rows].sum() * roc_auc_score(labels[rows], scores[rows], sample_weight=weights[rows])
        weight += weights[rows].sum()
    assert value("gauc", labels, scores, weights, group) == pytest.approx(total / weight)


def test_ndcg_and_mrr_of_two_users():
    labels = [0.0, 1.0, 0.0, 1.0, 0.0]
    scores = [0.9, 0.5, 0.1, 0.8, 0.2]
    group = [1, 1, 1, 2, 2]  # the positive row comes second, and first
    assert value("ndcg", labels, scores, group=group) == pytest.approx((1 / math.log2(3) + 1) / 2)
    assert value("mrr", labels, scores, group=group) == pytest.approx((1 / 2 + 1) / 2)
    assert value("ndcg@1", labels, scores, group=group) == pytest.approx(0.5)
    assert value("mrr@1", labels, scores, group=group) == pytest.approx(0.5)


def test_ndcg_at_k_does_not_ask_for_more_positives_than_k():
    assert value("ndcg@2", [1.0, 1.0, 1.0], [0.3, 0.2, 0.1], group=[1, 1, 1]) == pytest.approx(1.0)


@pytest.mark.parametrize("name", ["ndcg@1", "mrr@1"])
def test_equal_scores_are_ranked_as_unluckily_as_they_can_fall(name):
    assert value(name, [1.0, 0.0], [0.5, 0.5], group=[1, 1]) == 0.0
    assert value(name, [0.0, 1.0], [0.5, 0.5], group=[1, 1]) == 0.0


@pytest.mark.parametrize("k", [3, 7, 49])
def test_mrr_at_k_counts_rank_k_itself(k):
    labels = np.zeros(60)
    labels[k - 1] = 1
    assert value(f"mrr@{k}", labels, np.linspace(1, 0, 60), group=np.zeros(60, int)) == pytest.approx(1 / k)


@pytest.mark.parametrize("name", EVERY)
def test_each_metric_says_what_the_trainer_must_know(name):
    metric = load_metric(name)
    assert isinstance(metric.higher_is_better, bool)
    assert isinstance(metric.needs_group, bool)
    assert set(metric.tasks) <= {"classification", "regression"}


@pytest.mark.parametrize("name", ["gauc", "ndcg", "mrr"])
def test_a_missing_group_is_told(name):
    with pytest.raises(ValueError, match="needs the group"):
        value(name, [0.0, 1.0], [0.1, 0.2])
