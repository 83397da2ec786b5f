import math

import pytest
import torch

from rechub_cli.errors import SpecError
from rechub_cli.nn.similarity import Similarity, interest_scores, nearest_interest

USERS = torch.tensor([[3.0, 4.0], [0.0, 2.0]])
ITEMS = torch.tensor([[1.0, 0.0], [1.0, 1.0]])


def test_a_logit_is_the_inner_product_over_the_temperature() -> None:
    similarity = Similarity(normalize=False, temperature=0.5)
    assert similarity.vectors(USERS) is USERS
    assert similarity(USERS, ITEMS).tolist() == [[6.0], [4.0]]


def test_normalized_vectors_make_cosines_and_keep_zero() -> None:
    similarity = Similarity(normalize=True, temperature=0.1)
    users = similarity.vectors(USERS)
    assert torch.allclose(users.norm(dim=1), torch.ones(2))
    assert torch.allclose(similarity(users, similarity.vectors(ITEMS)), torch.tensor([[6.0], [10 / math.sqrt(2)]]))
    assert similarity.vectors(torch.zeros(1, 2)).tolist() == [[0.0, 0.0]]
    with torch.autocast("cpu", torch.bfloat16):
        low = similarity.vectors(USERS.bfloat16())
        assert low.dtype == similarity(low, low).dtype == torch.float32


@pytest.mark.parametrize("push", [-1.0, 1.0])
def test_a_learned_temperature_stays_in_its_bounds_and_keeps_its_gradient(push: float) -> None:
    similarity = Similarity(normalize=True, temperature=0.05, learn_temperature=True)
    assert similarity.temperature.item() == pytest.approx(0.05)
    optimizer = torch.optim.Adam(similarity.parameters(), lr=0.1)
    for _ in range(100):
        optimizer.zero_grad()
        (push * similarity.temperature.log()).backward()
        optimizer.step()
    temperature, gradient = similarity.temperature.item(), similarity.position.grad.item()
    assert 0.01 <= temperature <= 10
    assert (temperature < 0.011) if push > 0 else (temperature > 9)
    assert gradient != 0


def test_temperatures_that_make_no_sense_are_refused() -> None:
    for temperature in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(SpecError, match="temperature: must be above 0"):
            Similarity(normalize=True, temperature=temperature)
    with pytest.raises(SpecError, match=r"a learned one starts between 0\.01 and 10"):
        Similarity(normalize=True, temperature=20.0, learn_temperature=True)


def test_an_absent_interest_never_wins() -> None:
    users = torch.tensor([[[-1.0, 0.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]])
    scores = interest_scores(users, ITEMS)
    assert scores.tolist() == [[-1.0, -math.inf], [0.0, 0.0]]  # a user without interests: 0 everywhere
    assert Similarity(normalize=False, temperature=1.0)(users, ITEMS).tolist() == [[-1.0], [0.0]]
    assert nearest_interest(users, ITEMS)[0].tolist() == [-1.0, 0.0]


def test_the_nearest_interest_is_the_one_that_serving_scores() -> None:
    users = torch.tensor([[[1.0, 0.0], [0.0, 3.0], [2.0, 0.0]]], requires_grad=True)
    nearest = nearest_interest(users, torch.tensor([[1.0, 1.0]]))
    assert nearest.tolist() == [[0.0, 3.0]]
    nearest.sum().backward()
    assert users.grad.abs().sum(2).tolist() == [[0.0, 2.0, 0.0]]  # the others learn nothing from this item
