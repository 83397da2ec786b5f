"""Where the time of a training step goes: a trace of some steps, and its summary."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

WARM_UP, STEPS = 5, 20  # steps before, and of, the trace: some megabytes of JSON
PARTS = (
    "waiting for the batch",
    "forward and loss",
    "backward",
    "embedding update",
    "dense update",
    "between operators",
)
_SPARSE = ("LazyAdam", "RowwiseAdagrad")


class Traced:
    """A trainer's ``step`` that traces some steps after warm-up; ``finish`` writes what there is.

    Args:
        trainer: its ``step`` is replaced until ``finish``.
        target: the trace, Chrome's JSON, for chrome://tracing or ui.perfetto.dev.
        precision: that of the matrix products, ``fp32`` or ``bf16``.
    """

    def __init__(self, trainer: Any, target: Path, precision: str) -> None:
        self.trainer, self.target, self.precision = trainer, target, precision
        self.inner = trainer.step
        self.step, self.rows, self.waited, self.spent = 0, 0, 0.0, 0.0
        self.ended: float | None = None
        self.profile: profile | None = None
        self.summary: dict[str, Any] = {}
        self.replay = getattr(trainer, "replay", None)
        if self.replay is not None:  # of a recorded step a trace would show nothing
            self.slept, self.replay.asleep = self.replay.asleep, True
        trainer.step = self

    def __call__(self, item: Any) -> tuple[Tensor, int]:
        self.step += 1
        if self.step == WARM_UP + 1:
            activities = [ProfilerActivity.CPU]
            if torch.cuda.is_available():
                activities.append(ProfilerActivity.CUDA)
            self.profile = profile(activities=activities, with_flops=True)
            self.profile.start()
            self.ended = None
        began = time.perf_counter()
        loss, rows = self.inner(item)
        now = time.perf_counter()
        if self.profile is not None:
            self.waited += 0.0 if self.ended is None else began - self.ended
            self.spent += now - began
            self.rows += rows
            self.ended = now
            if self.step == WARM_UP + STEPS:
                self.finish()
        return loss, rows

    def finish(self) -> dict[str, Any]:
        """Stop tracing, write the trace, and say where the time went; empty where there were too few steps."""
        self.trainer.step = self.inner
        if self.replay is not None:
            self.replay.asleep = self.slept
        if self.profile is None:
            return self.summary
        traced, self.profile = self.profile, None
        traced.stop()
        steps = min(self.step - WARM_UP, STEPS)
        part = self.target.with_name(f".{self.target.name}.{os.getpid()}.tmp")
        traced.export_chrome_trace(str(part))
        os.replace(part, self.target)
        total = self.waited + self.spent
        seconds = {**_parts(traced), "waiting for the batch": self.waited}
        seconds["between operators"] = max(self.spent - sum(seconds.values()) + self.waited, 0.0)
        flops = sum(_flops(event) for event in traced.events() or []) / max(self.spent, 1e-9)
        ceiling = _gemm(self.precision, self.trainer.device)
        self.summary = {
            "steps": steps,
            "ms_per_step": 1e3 * total / steps,
            "rows_per_s": self.rows / total,
            "parts": {name: 1e3 * seconds.get(name, 0.0) / steps for name in PARTS},
            "gemm_share": flops / ceiling,
            "trace": str(self.target),
        }
        return self.summary


def _flops(event: Any) -> int:
    """Operations of a product; torch's profiler does not count those that it is asked for by oneDNN's name."""
    if event.name == "mkldnn::_linear_pointwise" and len(event.input_shapes) > 1:
        (rows, inputs), (outputs, _) = event.input_shapes[:2]
        return 2 * int(rows) * int(inputs) * int(outputs)
    return int(event.flops or 0)


def _parts(traced: profile) -> dict[str, float]:
    """Seconds by part of the operators that no other operator called."""
    seconds: dict[str, float] = defaultdict(float)
    for event in traced.events() or []:
        if event.cpu_parent is not None:
            continue
        name = event.name
        if name.startswith("Optimizer.step#"):
            part = "embedding update" if name.removeprefix("Optimizer.step#").startswith(_SPARSE) else "dense update"
        elif name.startswith("autograd::engine"):
            part = "backward"
        else:
            part = "forward and loss"
        seconds[part] += event.cpu_time_total / 1e6
    return seconds


def _gemm(precision: str, device: torch.device, size: int = 1024) -> float:
    """Floating-point operations a second of a square matrix product, the best of twenty."""
    values = torch.ones(size, size, dtype=torch.bfloat16 if precision == "bf16" else torch.float32, device=device)
    best = 1e9
    for _ in range(20):
        began = time.perf_counter()
        (values @ values)[0, 0].item()
        best = min(best, time.perf_counter() - began)
    return 2 * size**3 / best


def describe(summary: dict[str, Any]) -> list[str]:
    """The summary as lines for one screen."""
    if not summary:
        return [f"profile: fewer than {WARM_UP + 1} steps were trained, so there is nothing to tell"]
    total = summary["ms_per_step"]
    lines = [f"profile of {summary['steps']} steps   {total:.2f} ms a step   {summary['rows_per_s']:,.0f} rows/s"]
    for name, value in summary["parts"].items():
        lines.append(f"  {name:<22} {value:8.2f} ms {100 * value / total:5.1f} %")
    share = 100 * summary["gemm_share"]
    lines.append(f"  matrix products: {share:.0f} % of what this machine could do in the time of a step")
    lines.append(f"  trace: {summary['trace']} (open it in ui.perfetto.dev)")
    return lines
