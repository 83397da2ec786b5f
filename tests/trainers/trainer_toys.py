"""Small models and data that the trainer tests share."""

import torch
from torch import nn

from rechub_cli.batch import Batch, Output

torch.set_num_threads(1)  # threads only get in each other's way on tensors this small


class Foreign(nn.Module):
    """A module of somebody else: a dict in, probabilities out."""

    def __init__(self, width=3, norm=False):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(width, 8), nn.BatchNorm1d(8) if norm else nn.Identity(), nn.ReLU())
        self.out = nn.Linear(8, 1)

    def forward(self, x):
        return torch.sigmoid(self.out(self.layers(x["x"])).squeeze())


class Native(nn.Module):
    """One of ours: a Batch in, logits out."""

    def __init__(self, width=3, dropout=0.0, norm=False):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(width, 8), nn.BatchNorm1d(8) if norm else nn.Identity(), nn.ReLU())
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(8, 1)

    def forward(self, batch):
        return Output(self.out(self.dropout(self.layers(batch.dense))))


class Constant(nn.Module):
    """Its one logit is its one weight."""

    def __init__(self, logit=0.0):
        super().__init__()
        self.logit = nn.Parameter(torch.tensor(float(logit)))

    def forward(self, batch):
        return Output(self.logit.expand(len(batch), 1))


def rows(n=400, seed=0):
    """Inputs (n, 3) and labels that the sign of a sum decides."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 3, generator=generator)
    return x, (x.sum(1) > 0).float()


def pairs(n=400, size=64, seed=0):
    """A loader of ``(x_dict, y)``."""
    x, y = rows(n, seed)
    return [({"x": x[i : i + size]}, y[i : i + size]) for i in range(0, n, size)]


def batch(x, y=None, weights=None, group=None):
    labels = None if y is None else y.reshape(-1, 1)
    return Batch(torch.zeros(len(x), 0, dtype=torch.int32), x, labels=labels, weights=weights, group=group)


def batches(n=400, size=64, seed=0):
    """A loader of Batches."""
    x, y = rows(n, seed)
    return [batch(x[i : i + size], y[i : i + size]) for i in range(0, n, size)]


class Shuffled:
    """A loader that can be put at a position; its order depends on the epoch only."""

    def __init__(self, n=400, size=64):
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


class Keeper:
    """Checkpoints in memory; ``after`` looks at each one."""

    def __init__(self):
        self.saved = []

    def save(self, step, epoch, model, state, metrics, best):
        weights = {name: value.clone() for name, value in model.state_dict().items()}
        state = {name: value.clone() if isinstance(value, torch.Tensor) else value for name, value in state.items()}
        self.saved.append({"step": step, "epoch": epoch, "weights": weights, "state": state, "best": best})

    def load_best(self, model):
        model.load_state_dict([one for one in self.saved if one["best"]][-1]["weights"])


class Ear:
    """A watcher that remembers, and asks to stop at a step."""

    def __init__(self, stop_at=None):
        self.stop_at = stop_at
        self.polls = 0
        self.steps, self.epochs, self.messages = [], [], []

    def on_start(self, steps_per_epoch, n_epoch):
        self.started = (steps_per_epoch, n_epoch)

    def on_step(self, epoch, step, steps, loss, rows):
        self.steps.append((epoch, step, steps, rows))

    def on_epoch(self, record):
        self.epochs.append(record)

    def on_message(self, level, event, text, data):
        self.messages.append((level, event, text))

    def stop_requested(self):
        self.polls += 1
        return 15 if self.polls == self.stop_at else None


class Scripted:
    """A metric that returns what it was told, call by call."""

    tasks = ("classification",)
    needs_group = False

    def __init__(self, values, higher_is_better=True):
        self.values, self.higher_is_better = list(values), higher_is_better

    def __call__(self, labels, scores, weights=None, group=None):
        return self.values.pop(0)
