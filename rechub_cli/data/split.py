"""Parts of the training rows: train, valid and test, disjoint and together everything, the same at every reading."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from rechub_cli.data.chunk import CHUNK_ROWS, Chunk, Rows
from rechub_cli.data.ids import distinct, mix, stable_hash
from rechub_cli.data.moments import Instants, instants
from rechub_cli.errors import DataError, NoInput, SpecError
from rechub_cli.spec.model import Split

TRAIN, VALID, TEST = 0, 1, 2
PARTS = {"train": TRAIN, "valid": VALID, "test": TEST}

# Part (0, 1, 2) of each row of a chunk that starts at this row number.
Assign = Callable[[Chunk, int], np.ndarray]


def split_rows(
    source: Rows, split: Split, *, time: str | None, order: str | None, user: str | None, seed: int
) -> dict[str, Rows]:
    """The parts of ``source`` by name; ``valid`` and ``test`` are there where the split gives them a share.

    - random: each row by a hash of seed and row number.
    - order: the last rows of the files, valid before test.
    - time: the latest rows, valid before test; rows of one time are never parted, so shares are approximate.
    - user: all rows of a user are in one part, by a hash of seed and user.
    - leave_one_out: a user's last row by time (``order`` breaks ties, then the place in the files) is test, the one
      before it valid; of one of them alone, the last. A user's first row always trains.

    A pass over the key columns comes first where the method needs one.

    Raises:
        SpecError: the method needs a ``time`` or ``user`` column and none is named.
        DataError: a time is null or unreadable, or nothing is left to train on.
    """
    shares = split.valid, split.test
    if sum(shares) >= 1:
        raise SpecError(f"data.split: valid {split.valid} and test {split.test} leave nothing to train on")
    counts: list[int] | None = None
    columns: list[str] = []
    if split.method == "random":
        assign = _by_row(shares, seed)
        total = source.count_rows()
        counts = None if total is None else _count_random(total, shares, seed)
    elif split.method == "order":
        assign, counts = _by_order(source, shares)
    elif split.method == "user":
        columns = [_named(user, "user", split)]
        assign = _by_user(columns[0], shares, seed)
    elif split.method == "time":
        columns = [_named(time, "time", split)]
        assign, counts = _by_time(source, columns[0], shares)
    else:
        assign, counts = _leave_one_out(source, _named(user, "user", split), time, order, shares)
    what = f"{split.model_dump_json()} {time} {order} {user} {seed}"
    return {
        name: Part(source, name, what, assign, tuple(columns), counts[part] if counts else None)
        for name, part in PARTS.items()
        if part == TRAIN or shares[part - 1]
    }


@dataclass(frozen=True)
class Part:
    """The rows of one part of a split."""

    rows: Rows
    name: str
    what: str  # the split, in words that change with it
    assign: Assign
    keys: tuple[str, ...]  # columns that `assign` looks at
    count: int | None

    @property
    def schema(self) -> pa.Schema:
        return self.rows.schema

    def fingerprint(self) -> str:
        return hashlib.sha256(f"{self.rows.fingerprint()} {self.what} {self.name}".encode()).hexdigest()

    def count_rows(self) -> int | None:
        return self.count

    def tables(self, columns: Sequence[str] | None = None, rows: int = CHUNK_ROWS) -> Iterator[Chunk]:
        names = self.schema.names if columns is None else list(dict.fromkeys(columns))
        number = kept = 0
        for chunk in self.rows.tables(list(dict.fromkeys([*names, *self.keys])), rows):
            mine = self.assign(chunk, number) == PARTS[self.name]
            number += len(chunk)
            kept += int(np.count_nonzero(mine))
            if mine.any():
                yield chunk.select(names).take(mine)
        if number and not kept:
            raise NoInput(f"data.split leaves no row of {number} for {self.name}; change the shares")


def _named(column: str | None, key: str, split: Split) -> str:
    if column is None:
        raise SpecError(f"data.split: method {split.method} needs `{key}: <column>` in the spec")
    return column


def _draw(numbers: np.ndarray, shares: tuple[float, float], seed: int) -> np.ndarray:
    """A part for each number (uint64), by a hash of it and the seed."""
    salt = mix(np.array([seed % 2**64], np.uint64))
    uniform = (mix(numbers ^ salt) >> np.uint64(11)) * 2.0**-53
    valid, test = shares
    return np.where(uniform < test, TEST, np.where(uniform < test + valid, VALID, TRAIN)).astype(np.int8)


def _by_row(shares: tuple[float, float], seed: int) -> Assign:
    def assign(chunk: Chunk, number: int) -> np.ndarray:
        return _draw(np.arange(number, number + len(chunk), dtype=np.uint64), shares, seed)

    return assign


def _count_random(total: int, shares: tuple[float, float], seed: int) -> list[int]:
    counts = np.zeros(3, np.int64)
    for start in range(0, total, CHUNK_ROWS):
        numbers = np.arange(start, min(start + CHUNK_ROWS, total), dtype=np.uint64)
        counts += np.bincount(_draw(numbers, shares, seed), minlength=3)
    return counts.tolist()


def _by_order(source: Rows, shares: tuple[float, float]) -> tuple[Assign, list[int]]:
    total = source.count_rows()
    if total is None:
        total = sum(len(chunk) for chunk in source.tables(source.schema.names[:1]))
    valid, test = (round(total * share) for share in shares)
    bounds = np.array([total - valid - test, total - test])

    def assign(chunk: Chunk, number: int) -> np.ndarray:
        rows = np.arange(number, number + len(chunk))
        return np.searchsorted(bounds, rows, side="right").astype(np.int8)

    return assign, [total - valid - test, valid, test]


def _by_user(column: str, shares: tuple[float, float], seed: int) -> Assign:
    def assign(chunk: Chunk, number: int) -> np.ndarray:
        return _draw(_users(chunk, column)[0], shares, seed)

    return assign


def _users(chunk: Chunk, column: str) -> tuple[np.ndarray, np.ndarray]:
    """A hash (uint64) for each row's user, and whether there is one."""
    values, codes = distinct(chunk.table.column(column), column)
    hashes = np.append(stable_hash(values), np.uint64(0))
    return hashes[codes], codes >= 0


def _by_time(source: Rows, column: str, shares: tuple[float, float]) -> tuple[Assign, list[int]]:
    bounds: list[int | None] = []  # of valid and test: the times at which they start
    with Instants() as times:
        for chunk in source.tables([column]):
            times.add(instants(chunk, column))
        if not times.count:
            raise DataError("data.split: there are no rows to split")
        later = 0.0
        for share in reversed(shares):
            later += share
            before = bounds[0] if bounds else None
            bounds.insert(0, times.cut(max(1, round(times.count * later)), before) if share else before)
        edges = np.array([bound for bound in bounds if bound is not None], np.int64)
        parts = [part for part, share in ((VALID, shares[0]), (TEST, shares[1])) if share]
        counts = np.zeros(3, np.int64)
        for block in times.blocks():
            counts += np.bincount(_between(block, edges, parts), minlength=3)
    if not counts[TRAIN]:
        raise DataError(f"data.split: column {column} has too few different times: nothing is left to train on")

    def assign(chunk: Chunk, number: int) -> np.ndarray:
        return _between(instants(chunk, column), edges, parts)

    return assign, counts.tolist()


def _between(times: np.ndarray, edges: np.ndarray, parts: list[int]) -> np.ndarray:
    edges = edges[len(edges) - len(parts) :]
    return np.array([TRAIN, *parts], np.int8)[np.searchsorted(edges, times, side="right")]


def _leave_one_out(
    source: Rows, user: str, time: str | None, order: str | None, shares: tuple[float, float]
) -> tuple[Assign, list[int]]:
    parts = [part for part, share in ((TEST, shares[1]), (VALID, shares[0])) if share]  # of the last row, of the next
    keys = [name for name in (time, order) if name]
    last = np.zeros((len(keys) + 2, 0), np.int64)  # user, keys, row number of each user's last rows
    total = 0
    for chunk in source.tables([user, *keys], 4 * CHUNK_ROWS):
        users, known = _users(chunk, user)
        numbers = np.arange(total, total + len(chunk))
        rows = np.stack([users.view(np.int64), *(instants(chunk, name) for name in keys), numbers])[:, known]
        last = np.concatenate([last, rows], axis=1)
        last = last[:, np.lexsort(last[::-1])]
        last = last[:, _from_end(last[0]) <= len(parts)]
        total += len(chunk)
    from_end = _from_end(last[0])
    first = np.append(True, last[0][1:] != last[0][:-1])[: len(from_end)]
    held = [np.sort(last[-1][(from_end == place) & ~first]) for place in range(len(parts))]

    def assign(chunk: Chunk, number: int) -> np.ndarray:
        result = np.zeros(len(chunk), np.int8)
        for part, rows in zip(parts, held, strict=True):
            low, high = np.searchsorted(rows, [number, number + len(chunk)])
            result[rows[low:high] - number] = part
        return result

    sizes = dict(zip(parts, map(len, held), strict=True))
    counts = [total - sum(sizes.values()), sizes.get(VALID, 0), sizes.get(TEST, 0)]
    return assign, counts


def _from_end(groups: np.ndarray) -> np.ndarray:
    """For each row of sorted groups how many rows of its group come after it."""
    if not len(groups):
        return np.zeros(0, np.int64)
    ends = np.append(np.flatnonzero(groups[1:] != groups[:-1]), len(groups) - 1)
    sizes = np.diff(ends, prepend=-1)
    return np.repeat(ends, sizes) - np.arange(len(groups))
