"""R2, by hand."""

import math

import numpy as np
import pytest

from rechub_cli import plugins

LABELS = np.array([1.0, 2.0, 3.0, 4.0])


def test_perfect_mean_and_worse_than_the_mean():
    r2 = plugins.load_metric("r2")
    assert r2(LABELS, LABELS) == 1
    assert r2(LABELS, np.full(4, 2.5)) == pytest.approx(0)
    assert r2(LABELS, LABELS[::-1]) == pytest.approx(-3)  # squared errors 20, of the mean 5
    assert r2.higher_is_better
    assert r2.tasks == ("regression",)


def test_weights_leave_rows_out():
    r2 = plugins.load_metric("r2")
    scores = np.array([1.0, 2.0, 3.5, 99.0])
    assert r2(LABELS, scores, np.array([1.0, 1.0, 1.0, 0.0])) == pytest.approx(r2(LABELS[:3], scores[:3]))


def test_undefined_without_variance():
    r2 = plugins.load_metric("r2")
    assert math.isnan(r2(np.array([]), np.array([])))
    assert math.isnan(r2(np.full(3, 2.0), np.arange(3.0)))
