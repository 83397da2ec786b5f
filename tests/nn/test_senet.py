import torch

from rechub_cli.nn.senet import SENet


def test_each_field_is_scaled_as_a_whole_by_what_all_fields_say() -> None:
    torch.manual_seed(0)
    senet, flat = SENet([2, 3], reduction=1), torch.randn(4, 5)
    means = torch.stack([flat[:, :2].mean(1), flat[:, 2:].mean(1)], dim=1)
    weights = 2 * torch.sigmoid(senet.excite(torch.nn.functional.leaky_relu(senet.squeeze(means))))
    assert torch.allclose(senet(flat), torch.cat([flat[:, :2] * weights[:, :1], flat[:, 2:] * weights[:, 1:]], dim=1))


def test_fields_start_near_weight_one() -> None:
    torch.manual_seed(0)
    flat = torch.randn(64, 6) * 0.05
    assert torch.allclose(SENet([2, 2, 2], reduction=3)(flat), flat, rtol=0.2)
