"""A planted taste, and small retrieval models that can learn it."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rechub_cli.batch import Batch, Jagged, Output
from rechub_cli.schema import Feature, Schema

torch.set_num_threads(1)

GROUPS, EACH = 4, 6
ITEMS = GROUPS * EACH  # item i is of group i % GROUPS
SCHEMA = Schema(
    (
        Feature("group", "sparse", 8, GROUPS + 3),
        Feature("item", "sparse", 8, ITEMS + 3, tower="item"),
        Feature("bad", "sequence", 8, ITEMS + 3, shares="item", role="negatives", pooling="none"),
    )
)


@dataclass
class Items:
    """As much of a catalogue as a trainer needs."""

    counts: Tensor
    batch: Batch


def catalogue(counts=None):
    ids = torch.arange(3, ITEMS + 3, dtype=torch.int32)[:, None]
    counts = torch.ones(ITEMS, dtype=torch.int64) if counts is None else counts
    return Items(counts, Batch(ids, torch.zeros(ITEMS, 0)))


def rows(n=64, seed=0, labelled=False, weights=None):
    """Users of a group choose its items; with labels, also others, which are 0."""
    generator = torch.Generator().manual_seed(seed)
    group = torch.randint(0, GROUPS, (n,), generator=generator)
    item = group + GROUPS * torch.randint(0, EACH, (n,), generator=generator)
    labels = None
    if labelled:
        item = torch.randint(0, ITEMS, (n,), generator=generator)
        labels = (item % GROUPS == group).float()[:, None]
    bad = (group + 1) % GROUPS + GROUPS * torch.randint(0, EACH, (3, n), generator=generator)
    return Batch(
        (group + 3).int()[:, None],
        torch.zeros(n, 0),
        {"bad": Jagged(bad.T.flatten().int(), torch.arange(n + 1) * 3)},
        labels=labels,
        targets=Jagged(torch.stack([torch.ones(n), item], 1).int(), torch.arange(n + 1)),
        weights=weights,
    )


def loader(n=8, **options):
    return [rows(seed=seed, **options) for seed in range(n)]


class Shuffled:
    """A loader that can be put at a position; its order depends on the epoch only."""

    def __init__(self, n=6):
        self.batches = loader(n)
        self.set_position(0)

    def __len__(self):
        return len(self.batches)

    def set_position(self, epoch, step=0):
        self.epoch, self.step = epoch, step

    def __iter__(self):
        order = torch.randperm(len(self.batches), generator=torch.Generator().manual_seed(self.epoch))
        for index in order[self.step :].tolist():
            yield self.batches[index]


class TwoTowers(nn.Module):
    """A vector for each group and each item."""

    schema = SCHEMA
    mode, negatives, loss = 2, "in_batch", "softmax"

    def __init__(self, temperature=0.2, dropout=0.0, interests=1):
        super().__init__()
        self.temperature, self.interests = temperature, interests
        self.users, self.items = nn.Embedding(GROUPS + 3, 8 * interests), nn.Embedding(ITEMS + 3, 8)
        self.dropout = nn.Dropout(dropout)
        for table in (self.users, self.items):
            nn.init.normal_(table.weight, std=0.3, generator=torch.Generator().manual_seed(1))

    def embed_users(self, batch):
        users = self.dropout(self.users(batch.sparse[:, 0]))
        return users if self.interests == 1 else F.normalize(users.view(-1, self.interests, 8), dim=2)

    def embed_items(self, batch):
        return F.normalize(self.items(batch.sparse[:, 0]), dim=1)

    def select_interest(self, users, items):
        best = torch.einsum("qke,qe->qk", users, items).argmax(1)
        return users[torch.arange(len(users)), best]

    def forward(self, users, items):
        scores = torch.einsum("bke,be->bk", self.embed_users(users), self.embed_items(items))
        return Output(scores.amax(1, keepdim=True) / self.temperature)


class Foreign(nn.Module):
    """Two towers of somebody else: a dict in, a probability out."""

    def __init__(self, returns="probabilities"):
        super().__init__()
        self.users, self.items = nn.Embedding(GROUPS, 8), nn.Embedding(ITEMS, 8)
        self.returns, self.mode, self.temperature = returns, None, 0.2

    def user_tower(self, x):
        return None if self.mode == "item" else F.normalize(self.users(x["group"]), dim=1)

    def item_tower(self, x, name="item"):
        return None if self.mode == "user" else F.normalize(self.items(x[name]), dim=-1)

    def forward(self, x):
        if self.mode is not None:
            return self.user_tower(x) if self.mode == "user" else self.item_tower(x)
        users = self.user_tower(x) / self.temperature
        right = (users * self.item_tower(x)).sum(1)
        if self.returns == "probabilities":
            return right.sigmoid()
        wrong = torch.einsum("be,bne->bn", users, self.item_tower(x, "bad"))
        return (right, wrong) if self.returns == "pairs" else torch.cat([right[:, None], wrong], 1)


def pairs(n=6, labelled=False, size=64):
    """A loader of ``(x_dict, y)``."""
    made = []
    for seed in range(n):
        batch = rows(size, seed, labelled)
        x = {"group": batch.sparse[:, 0].long() - 3, "item": batch.targets.values[:, 1].long()}
        x["bad"] = batch.sequences["bad"].padded().long()
        made.append((x, batch.labels[:, 0] if labelled else torch.zeros(size)))
    return made
