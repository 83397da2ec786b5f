"""What became of the ids of one encoder in another that went on from it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from rechub_cli.data.encoder import Encoder
from rechub_cli.data.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True)
class Growth:
    """The ids of one feature that owns embedding rows."""

    sources: np.ndarray  # int64, one for each id of today: which id it was before, -1 for a new one
    kept: int  # values of before that still have an id
    new: int
    left: int


def growth(before: Encoder, now: Encoder, fresh: Collection[str] = ()) -> dict[str, Growth]:
    """By feature, for those that both have and that are not ``fresh``; features that share rows are their owner's."""
    found: dict[str, Growth] = {}
    there = {feature.table: feature.vocab_size for feature in before.schema.features if feature.vocab_size}
    for feature in now.schema.features:
        name = feature.table
        if name in found or name not in there or name in fresh or name.rpartition(".")[0] in fresh:
            continue
        old, new = before.vocabularies.get(name), now.vocabularies.get(name)
        if isinstance(old, Vocabulary) and isinstance(new, Vocabulary):
            found[name] = _of_vocabularies(old, new, name)
        elif there[name] == feature.vocab_size and type(old) is type(new):
            found[name] = Growth(np.arange(feature.vocab_size), feature.vocab_size, 0, 0)
    return found


def _of_vocabularies(old: Vocabulary, new: Vocabulary, name: str) -> Growth:
    known = np.full(new.size, -1)
    if old.size:
        ids = old.look_up(new.values.slice(0, new.size), name)
        known = np.where(ids >= old.first, ids, -1).astype(np.int64)
    kept = int(np.count_nonzero(known >= 0))
    return Growth(np.concatenate([np.arange(new.first), known]), kept, new.size - kept, old.size - kept)
