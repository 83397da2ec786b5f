"""The precision of matrix products: what was asked for, and what the device can multiply."""

from __future__ import annotations

import functools

import torch

from rechub_cli.errors import SpecError
from rechub_cli.trainers.watch import Watcher


def usable_precision(precision: str, device: torch.device, watcher: Watcher | None = None) -> str:
    """``fp32`` or ``bf16``: the latter where it was asked for and the device has it, or else a watcher is told.

    Raises:
        SpecError: there is no such precision.
    """
    if precision not in ("fp32", "bf16"):
        raise SpecError(f"precision must be fp32 or bf16, not {precision!r}")
    if precision == "fp32" or device.type != "cpu" or has_bf16():
        return precision
    if watcher is not None:
        text = "precision bf16: this CPU has no products of bfloat16; fp32 is used, which is many times as quick here"
        watcher.on_message("warn", "warning", text, {"precision": "fp32"})
    return "fp32"


@functools.cache
def has_bf16() -> bool:
    """Whether the CPU multiplies bfloat16 by oneDNN; torch's own loop takes hundreds of times as long."""
    asked = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
    return asked is None or bool(asked())
