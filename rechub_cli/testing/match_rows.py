"""Small users, items and histories for the checks of retrieval models."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F

from rechub_cli.batch import Batch, Jagged
from rechub_cli.schema import FIRST_UNSEEN, Feature, Schema

KNOWN = FIRST_UNSEEN + 1  # first id of the vocabulary, with one unseen bucket
ITEMS, GENRES, USERS, LONGEST = 16, 4, 12, 6  # place p of the catalogue is item id KNOWN + p, of genre p % GENRES

MATCH_SCHEMA = Schema(
    (
        Feature("user_id", "sparse", embed_dim=8, vocab_size=KNOWN + USERS, tower="user"),
        Feature("age", "dense", tower="user"),
        Feature("hist.item_id", "sequence", 8, KNOWN + ITEMS, "item_id", max_len=LONGEST, tower="user", history="hist"),
        Feature("hist.genre", "sequence", 4, KNOWN + GENRES, "genre", max_len=LONGEST, tower="user", history="hist"),
        Feature("shown", "sequence", 8, KNOWN + ITEMS, "item_id", "none", 3, tower="user", role="negatives"),
        Feature("item_id", "sparse", embed_dim=8, vocab_size=KNOWN + ITEMS, tower="item"),
        Feature("genre", "sparse", embed_dim=4, vocab_size=KNOWN + GENRES, tower="item"),
        Feature("price", "dense", tower="item"),
    ),
)


def catalogue() -> Batch:
    """All items, laid out by the schema of the item tower."""
    places = torch.arange(ITEMS, dtype=torch.int32)
    return Batch(torch.stack([KNOWN + places, KNOWN + places % GENRES], dim=1), places[:, None] / ITEMS - 0.5)


def some_users(size: int) -> Batch:
    """Users of known ids, laid out by the schema of the user tower; each with at least one event, and a target."""
    random = torch.Generator().manual_seed(size)
    lengths = torch.randint(1, LONGEST + 1, (size,), generator=random)
    offsets = F.pad(lengths.cumsum(0), (1, 0))
    places = torch.randint(ITEMS, (int(offsets[-1]),), generator=random)
    targets = torch.randint(ITEMS, (size,), generator=random)
    shown = torch.randint(KNOWN, KNOWN + ITEMS, (2 * size,), generator=random, dtype=torch.int32)
    return Batch(
        torch.randint(KNOWN, KNOWN + USERS, (size, 1), generator=random, dtype=torch.int32),
        torch.randn(size, 1, generator=random),
        {
            "hist.item_id": Jagged((KNOWN + places).int(), offsets),
            "hist.genre": Jagged((KNOWN + places % GENRES).int(), offsets),
            "shown": Jagged(shown, torch.arange(size + 1) * 2),
        },
        targets=Jagged(torch.stack([lengths, targets], dim=1).int(), torch.arange(size + 1)),
    )


def tastes(size: int) -> Batch:
    """Users whose events are all of one genre, once for each item of that genre as the target."""
    batch = some_users(size)
    ids = batch.sequences["hist.item_id"]
    genres = torch.arange(size) % GENRES
    places = ids.values - KNOWN
    places = places - places % GENRES + genres[ids.rows].int()
    of_one_genre = {
        "hist.item_id": Jagged(KNOWN + places, ids.offsets),
        "hist.genre": Jagged(KNOWN + places % GENRES, ids.offsets),
    }
    batch = replace(batch, sequences={**batch.sequences, **of_one_genre})
    batch = batch.take(torch.arange(size).repeat(ITEMS // GENRES))
    assert batch.targets is not None
    targets = batch.targets.values.clone()
    targets[:, 1] = genres.repeat(ITEMS // GENRES) + GENRES * torch.arange(ITEMS // GENRES).repeat_interleave(size)
    return replace(batch, targets=Jagged(targets, batch.targets.offsets))


def histories_only(batch: Batch) -> Batch:
    """As rows of one user each arrive for sequential models: histories and targets, no other column."""
    return replace(batch, sparse=batch.sparse[:, :0], dense=batch.dense[:, :0])


def without_history(batch: Batch) -> Batch:
    nothing = {name: Jagged(part.values[:0], torch.zeros_like(part.offsets)) for name, part in batch.sequences.items()}
    return replace(batch, sequences=nothing, targets=None)


def filled(batch: Batch, reserved: int) -> Batch:
    """The same rows, every id being ``reserved``."""
    sequences = {
        name: Jagged(torch.full_like(part.values, reserved), part.offsets) for name, part in batch.sequences.items()
    }
    return replace(batch, sparse=torch.full_like(batch.sparse, reserved), sequences=sequences)


def cut(user: Batch, events: int) -> Batch:
    """One user with the first so many events alone."""
    offsets = torch.tensor([0, events])
    return replace(
        user,
        sequences={name: Jagged(part.values[:events], offsets) for name, part in user.sequences.items()},
        targets=None,
    )


def reversed_histories(batch: Batch) -> Batch:
    """The same users, their histories newest first."""
    turned = {}
    for name, part in batch.sequences.items():
        rows = part.values.split(part.lengths.tolist())
        turned[name] = Jagged(torch.cat([row.flip(0) for row in rows]), part.offsets)
    return replace(batch, sequences=turned)


def every_prefix(lengths: list[int]) -> Jagged:
    """Targets after 1, 2, ... all events of each row; their places do not matter."""
    before = torch.cat([torch.arange(1, length + 1) for length in lengths])
    values = torch.stack([before, torch.zeros_like(before)], dim=1).int()
    return Jagged(values, F.pad(torch.tensor(lengths).cumsum(0), (1, 0)))
