"""Rows and lists of values, beside numpy's own answer."""

import numpy as np
import pytest

from rechub_cli.data.block import gather, offsets_of
from rechub_cli.kernels import lists, loops

loops.library()  # threads share the loops once torch's are known
pytestmark = pytest.mark.skipif(lists._loops() is None, reason="no compiled loops")
VALUES = np.arange(100, 200, dtype=np.int32)


def test_lists_come_one_after_the_other():
    rng = np.random.default_rng(0)
    starts, lengths = rng.integers(0, 90, 50), rng.integers(0, 10, 50)
    expected = [VALUES[start : start + length] for start, length in zip(starts, lengths, strict=True)]
    found = lists.gather(VALUES, starts, offsets_of(lengths))
    assert found.dtype == np.int32
    assert found.tolist() == np.concatenate(expected).tolist()


@pytest.mark.parametrize("n", [0, 3])
def test_no_values_are_no_values(n):
    nothing = np.zeros(n, np.int64)
    assert lists.gather(VALUES, nothing, offsets_of(nothing)).tolist() == []


@pytest.mark.parametrize(("starts", "lengths"), [([0, 99], [1, 2]), ([-1], [1]), ([101], [0]), ([0], [101])])
def test_what_does_not_lie_within_the_values_is_left_to_numpy_which_says_so(starts, lengths):
    starts, lengths = np.array(starts), np.array(lengths)
    assert lists.gather(VALUES, starts, offsets_of(lengths)) is None


def test_a_list_past_the_end_is_an_error():
    with pytest.raises(IndexError):
        gather(VALUES, np.array([99]), np.array([2]))


@pytest.mark.parametrize(
    ("values", "starts"),
    [
        (VALUES.astype(np.int64), np.array([1])),
        (VALUES[::2], np.array([1])),
        (VALUES.reshape(50, 2), np.array([1])),
        (VALUES, np.array([1], np.int32)),
    ],
    ids=["int64", "strided", "pairs", "int32 starts"],
)
def test_other_arrays_are_gathered_by_numpy(values, starts):
    assert lists.gather(values, starts, np.array([0, 2])) is None
    assert gather(values, starts, np.array([2])).tolist() == values[1:3].tolist()


ROWS = np.arange(6000, dtype=np.int32).reshape(2000, 3)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("widths", [(3,), (2, 1), (0, 1, 0, 2)])
def test_rows_come_in_order_cut_into_their_parts(widths, threads):
    order = np.random.default_rng(0).permutation(2000)[:1500]
    parts = lists.take_rows(ROWS, order, widths, threads)
    assert [part.shape for part in parts] == [(1500, width) for width in widths]
    assert np.concatenate(parts, axis=1).tolist() == ROWS[order].tolist()


def test_no_rows_are_no_rows():
    assert [part.shape for part in lists.take_rows(ROWS, np.empty(0, np.int64), (1, 2))] == [(0, 1), (0, 2)]


@pytest.mark.parametrize(
    ("rows", "order", "widths"),
    [
        (ROWS, np.array([2000]), (3,)),
        (ROWS, np.array([-1]), (3,)),
        (ROWS, np.array([0]), (2,)),
        (ROWS, np.array([0], np.int32), (3,)),
        (ROWS[:, :2], np.array([0]), (2,)),
        (ROWS.astype(np.int64), np.array([0]), (3,)),
    ],
    ids=["behind", "before", "narrow", "int32 order", "strided", "int64"],
)
def test_other_rows_are_left_to_numpy(rows, order, widths):
    assert lists.take_rows(rows, order, widths) is None


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_share_the_lists(threads):
    starts = np.arange(1000) % 90
    lengths = np.arange(1000) % 7
    found = lists.gather(VALUES, starts, offsets_of(lengths), threads)
    assert found.tolist() == [int(VALUES[s + i]) for s, n in zip(starts, lengths, strict=True) for i in range(n)]
    starts[700] = 101
    assert lists.gather(VALUES, starts, offsets_of(lengths), threads) is None
