import torch

from rechub_cli.nn.capsule import route, squash

INSIDE = torch.tensor([[True, True, True, False], [False, False, False, False]])


def test_squash_keeps_the_direction_and_stays_below_one() -> None:
    assert torch.allclose(squash(torch.tensor([[3.0, 4.0]])), torch.tensor([[3.0, 4.0]]) / 5 * 25 / 26)
    zero = torch.zeros(1, 2, requires_grad=True)
    squash(zero).sum().backward()
    assert zero.grad.isfinite().all()


def test_routing_gathers_what_points_one_way() -> None:
    east, north = torch.tensor([2.0, 0.0]), torch.tensor([0.0, 2.0])
    votes = torch.stack([east, east, north, torch.zeros(2)])[None, None].expand(2, 1, 4, 2)
    first = torch.tensor([[[0.1, 0.0, 0.0, 0.0], [0.0, 0.0, 0.1, 0.0]]]).expand(2, 2, 4)
    capsules = route(votes, first, INSIDE, 10)
    assert capsules[0, 0, 0] > 0.9
    assert capsules[0, 0, 1].abs() < 0.1
    assert capsules[0, 1, 1] > 0.7
    assert capsules[0, 1, 0].abs() < 0.1
    assert capsules[1].eq(0).all()  # padding alone


def test_one_round_of_routing_is_what_the_paper_writes_down() -> None:
    torch.manual_seed(0)
    votes, first = torch.randn(1, 3, 4, 2), torch.randn(1, 3, 4)
    shares = first.softmax(1)
    expected = squash(torch.einsum("bkl,bkle->bke", shares[:, :, :3], votes[:, :, :3]))
    assert torch.allclose(route(votes, first, INSIDE[:1], 1), expected, atol=1e-6)


def test_an_absent_capsule_takes_nothing() -> None:
    torch.manual_seed(0)
    votes, first = torch.randn(1, 1, 4, 2), torch.zeros(1, 3, 4)
    first[:, 2] = -torch.inf
    capsules = route(votes, first, INSIDE[:1], 3)
    assert capsules[0, 2].tolist() == [0.0, 0.0]
    assert torch.allclose(capsules[:, :2], route(votes, first[:, :2], INSIDE[:1], 3))
