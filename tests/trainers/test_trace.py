"""A profile counts every product, whichever library made it."""

from __future__ import annotations

import torch
from torch.profiler import ProfilerActivity, profile

from rechub_cli.nn import product
from rechub_cli.trainers.trace import _flops


def test_products_of_both_libraries_are_counted():
    x, large, small = torch.randn(2048, 429), torch.randn(100, 429), torch.randn(3, 429)
    with torch.inference_mode(), profile(activities=[ProfilerActivity.CPU], with_flops=True) as traced:
        product.linear(x, large)
        product.linear(x, small)
    assert sum(_flops(event) for event in traced.events()) == 2 * 2048 * 429 * (100 + 3)
