"""Batches that are worked on at once come out as if they had not been."""

from __future__ import annotations

import threading
import time

import pytest
import torch

from rechub_cli.trainers.side_by_side import side_by_side


@pytest.fixture(autouse=True)
def four_threads():
    threads = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_results_come_in_the_order_of_their_items(workers):
    def work(number):
        time.sleep(0.02 if number % 3 == 0 else 0)
        return number**2

    assert list(side_by_side(work, range(20), workers)) == [number**2 for number in range(20)]


def test_each_has_its_share_of_the_threads_and_afterwards_all_are_back():
    met = threading.Barrier(2, timeout=30)  # that only two at once can pass

    def work(_):
        met.wait()
        return torch.get_num_threads()

    assert list(side_by_side(work, range(6), 2)) == [2] * 6
    assert torch.get_num_threads() == 4


def test_an_error_comes_in_the_place_of_its_result():
    def work(number):
        if number == 3:
            raise ValueError("three")
        return number

    found = []
    with pytest.raises(ValueError, match="three"):
        found.extend(side_by_side(work, range(10), 2))
    results = side_by_side(work, range(10), 2)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="three"):
        next(results)
    assert torch.get_num_threads() == 4


def test_who_stops_early_leaves_nothing_running():
    taken = []

    def items():
        for number in range(1000):
            taken.append(number)
            yield number

    results = side_by_side(lambda number: number, items(), 2)
    assert next(results) == 0
    results.close()
    assert len(taken) < 10
    assert torch.get_num_threads() == 4
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("rechub-score")]
