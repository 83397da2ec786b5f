"""Small multi-task models and data."""

import torch
from torch import nn

from rechub_cli.batch import Batch, Output
from rechub_cli.schema import Task

TASKS = (Task("click"), Task("watch", "regression"))


class TwoTowers(nn.Module):
    """One layer under a tower for each task: a Batch in, logits out."""

    def __init__(self, n_tasks=2, width=3, hidden=8, dropout=0.0, aux=False):
        super().__init__()
        self.bottom = nn.Sequential(nn.Linear(width, hidden), nn.Tanh())
        self.dropout = nn.Dropout(dropout)
        self.towers = nn.ModuleList(nn.Linear(hidden, 1) for _ in range(n_tasks))
        self.aux = aux

    def forward(self, batch):
        hidden = self.dropout(self.bottom(batch.dense))
        logits = torch.cat([tower(hidden) for tower in self.towers], dim=1)
        return Output(logits, logits.square().mean() if self.aux else None)


class Foreign(TwoTowers):
    """A dict in; a probability and a value out."""

    def forward(self, x):
        hidden = self.bottom(x["x"])
        click, watch = (tower(hidden) for tower in self.towers)
        return torch.cat([torch.sigmoid(click), watch], dim=1)


class Constants(nn.Module):
    """The logit of each task is a weight of its own."""

    def __init__(self, *logits):
        super().__init__()
        self.logits = nn.ParameterList(nn.Parameter(torch.tensor(float(logit))) for logit in logits)

    def forward(self, batch):
        return Output(torch.stack([*self.logits]).expand(len(batch), -1))


def rows(n=400, seed=0):
    """Inputs (n, 3); whether their sum is positive, and a difference of two of them."""
    x = torch.randn(n, 3, generator=torch.Generator().manual_seed(seed))
    return x, torch.stack([(x.sum(1) > 0).float(), x[:, 0] - x[:, 1]], dim=1)


def batch(x, y, weights=None, label_weights=None):
    empty = torch.zeros(len(x), 0, dtype=torch.int32)
    return Batch(empty, x, labels=y, weights=weights, label_weights=label_weights)


def batches(n=400, size=64, seed=0, change=None):
    """A loader of Batches; ``change`` of the labels first."""
    x, y = rows(n, seed)
    y = y if change is None else change(y)
    return [batch(x[i : i + size], y[i : i + size]) for i in range(0, n, size)]


class Shuffled:
    """A loader that can be put at a position; its order depends on the epoch only."""

    def __init__(self, n=200, size=64):
        self.x, self.y = rows(n)
        self.size = size
        self.set_position(0)

    def __len__(self):
        return -(-len(self.x) // self.size)

    def set_position(self, epoch, step=0):
        self.epoch, self.step = epoch, step

    def __iter__(self):
        order = torch.randperm(len(self.x), generator=torch.Generator().manual_seed(self.epoch))
        for part in order.split(self.size)[self.step :]:
            yield batch(self.x[part], self.y[part])
