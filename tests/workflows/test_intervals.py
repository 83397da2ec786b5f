"""Bootstrap intervals, on numbers whose standard error is known."""

import math

import numpy as np
import pytest

from rechub_cli.run.events import Events
from rechub_cli.run.signals import Stop
from rechub_cli.workflows.intervals import Intervals, Resampler


class Values:
    """Rows with one number each; the metric is their mean."""

    def __init__(self, values, cluster=None):
        self.values, self.cluster = values, "unit" if cluster is not None else None
        self._codes = cluster

    def __len__(self):
        return len(self.values)

    def metrics(self, rows=None):
        return {"mean": float(self.values[rows].mean()), "odd": math.nan}

    def codes(self, name):
        return self._codes, []


def interval(found, beside=None, draws=800):
    return Intervals.of(found, beside, 0.95, draws, 7, Events(), Stop())


def test_the_width_is_that_of_the_standard_error():
    values = np.random.default_rng(0).normal(3.0, 2.0, 400)
    low, high = interval(Values(values)).metrics["mean"]
    assert low < values.mean() < high
    assert high - low == pytest.approx(2 * 1.96 * 2.0 / 20, rel=0.1)


def test_rows_that_belong_together_are_drawn_together():
    values = np.random.default_rng(0).normal(3.0, 2.0, 200)
    units = np.arange(200)
    order = np.random.default_rng(1).permutation(800)
    four = Values(np.repeat(values, 4)[order], np.repeat(units, 4)[order])  # each unit says the same four times
    low, high = interval(four).metrics["mean"]
    alone = interval(Values(np.repeat(values, 4))).metrics["mean"]
    assert high - low == pytest.approx(2 * 1.96 * 2.0 / math.sqrt(200), rel=0.12)
    assert (high - low) / (alone[1] - alone[0]) == pytest.approx(2.0, rel=0.15)


def test_two_runs_are_measured_on_the_same_draws():
    values = np.random.default_rng(0).normal(3.0, 2.0, 400)
    found = interval(Values(values + 0.5), Values(values), draws=50)
    assert found.difference["mean"] == pytest.approx((0.5, 0.5))
    assert found.against["mean"][0] == pytest.approx(found.metrics["mean"][0] - 0.5)


def test_a_metric_that_is_undefined_has_no_interval():
    assert all(map(math.isnan, interval(Values(np.ones(5)), draws=5).metrics["odd"]))


def test_units_of_different_sizes_come_whole():
    resample = Resampler(6, np.array([1, 0, 1, 1, 2, 0]))
    for seed in range(20):
        rows = resample(np.random.default_rng(seed)).tolist()
        assert rows.count(0) == rows.count(2) == rows.count(3)
        assert rows.count(1) == rows.count(5)
