"""Weightings at work on problems small enough to follow by hand."""

import json
from pathlib import Path

import torch
from torch import nn

from rechub_cli import plugins
from rechub_cli.optim.shared import Shared
from rechub_cli.schema import Task

EXAMPLES = json.loads((Path(__file__).parent / "worked_examples.json").read_text())
ALL = ("equal", "static", "uwl", "uwl_nonnegative", "gradnorm", "metabalance", "dwa", "pcgrad", "stch")
NEEDS = {"static": {"weights": [1.0, 1.0]}}


def make(name, types=("regression", "regression"), **options):
    tasks = [Task(f"t{place}", kind) for place, kind in enumerate(types)]
    return plugins.load("weightings", name)(tasks, **{**NEEDS.get(name, {}), **options})


class Point(nn.Module):
    """One shared parameter W; what the losses are is the test's affair."""

    def __init__(self, start):
        super().__init__()
        self.W = nn.Parameter(torch.tensor(start))
        self.shared = Shared(self, [self.W], [self.W])

    def step(self, weighting, losses, lr=None, lr_weights=None):
        """The gradient of W after one step by plain descent."""
        parameters = list(weighting.parameters())
        for parameter in (self.W, *parameters):
            parameter.grad = None
        weighting.backward(losses, self.shared)
        with torch.no_grad():
            if lr is not None:
                self.W -= lr * self.W.grad
            for parameter in parameters if lr_weights is not None else ():
                parameter -= lr_weights * parameter.grad
        if lr_weights is not None:
            weighting.after_step()
        return self.W.grad


class Toy(Point):
    """L_i(W) = 0.5 * k_i * |W - c_i|^2 of the worked examples."""

    def __init__(self):
        toy = EXAMPLES["toy"]
        super().__init__(toy["W0"])
        self.k, self.c = toy["k"], torch.tensor(toy["c"])

    def losses(self):
        return [0.5 * k * (self.W - c).square().sum() for k, c in zip(self.k, self.c, strict=True)]


def linear(point, grads, values=(1.0, 1.0)):
    """Losses of these values and gradients at W = 0."""
    return [value + (torch.tensor(grad) * point.W).sum() for grad, value in zip(grads, values, strict=True)]
