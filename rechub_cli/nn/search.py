"""The best items of each user: exact, in blocks of bounded memory.

Relevance is the inner product of a user's and an item's vector; of several interests the one that finds an
item most relevant speaks for the user. A relevance that is not a number counts as the lowest there is.

Shape legend: B users, K interests, I items, E the vectors' width.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from rechub_cli.batch import Jagged

_BLOCK = 8_388_608  # scores at a time: 32 MB
_ROWS = 16  # users at a time, where one block would hold fewer
_ITEMS = 65_536  # items at a time
LOWEST = torch.finfo(torch.float32).min
_GROUP = 32  # columns that are first represented by their best one


def relevance(users: Tensor, items: Tensor) -> Tensor:
    """float32 (B, I) of users (B, E), or of their interests (B, K, E).

    An interest of nothing but zeros is not in use and never speaks, unless the user has no other.
    """
    items = items.float()
    if users.dim() == 2:
        return (users.float() @ items.T).nan_to_num_(LOWEST)
    n, interests, width = users.shape
    scores = (users.float().reshape(-1, width) @ items.T).nan_to_num_(LOWEST).view(n, interests, -1)
    unused = ~users.any(2)
    unused &= ~unused.all(1, keepdim=True)
    if unused.any():
        scores.masked_fill_(unused[:, :, None], -torch.inf)
    return scores.amax(1)


def exclude(scores: Tensor, places: Jagged, first: int = 0) -> Tensor:
    """Give -inf, in place, to what row i of ``places`` names; column 0 of ``scores`` is the place ``first``."""
    column = places.values.long() - first
    inside = (column >= 0) & (column < scores.shape[1])
    scores[places.rows[inside], column[inside]] = -torch.inf
    return scores


def best(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k highest of each row, falling, equal ones in the order of their columns.

    Returns:
        scores (B, min(k, I)) and their columns, int64; where the score is -inf the column is -1.
    """
    columns = scores.shape[1]
    k = min(k, columns)
    wanted = min(k + 1, columns)  # one more tells whether the last place is shared
    if columns // _GROUP > 4 * wanted:
        found, places = _best_of_groups(scores, wanted)
    else:
        found, places = scores.topk(wanted, 1)
    shared = (found[:, 1:] == found[:, :-1]).any(1)
    found, places = found[:, :k].contiguous(), places[:, :k].contiguous()
    if shared.any():
        rows = shared.nonzero()[:, 0]
        found[rows], places[rows] = _in_column_order(scores[rows], found[rows])
    return found, places.masked_fill_(found == -torch.inf, -1)


def top_k(users: Tensor, items: Tensor, k: int, exclude: Jagged | None = None) -> tuple[Tensor, Tensor]:
    """The k most relevant items of each user, exactly; of equally relevant ones the lower place comes first.

    Args:
        users: (B, E), or (B, K, E) of K interests.
        items: (I, E)
        exclude: places that row i must not get.

    Returns:
        relevance float32 (B, min(k, I)), falling, and places int64; -inf and -1 where no item is left.
    """
    parts = []
    interests = users.shape[1] if users.dim() == 3 else 1
    for start, stop in blocks(len(users), min(len(items), _ITEMS) * interests):
        left_out = None if exclude is None else exclude.slice(start, stop)
        parts.append(_search(users[start:stop], items, k, left_out))
    if not parts:
        width = min(k, len(items))
        return users.new_zeros((0, width), dtype=torch.float32), users.new_zeros((0, width), dtype=torch.int64)
    scores, places = zip(*parts, strict=True)
    return torch.cat(scores), torch.cat(places)


def blocks(rows: int, columns: int) -> Iterator[tuple[int, int]]:
    """(start, stop) of as many rows as one block of scores may have; never only a few, which no product is quick at."""
    size = max(_ROWS, _BLOCK // max(1, columns))
    for start in range(0, rows, size):
        yield start, min(start + size, rows)


def _search(users: Tensor, items: Tensor, k: int, left_out: Jagged | None) -> tuple[Tensor, Tensor]:
    found: tuple[Tensor, Tensor] | None = None
    for first in range(0, max(1, len(items)), _ITEMS):
        scores = relevance(users, items[first : first + _ITEMS])
        if left_out is not None:
            exclude(scores, left_out, first)
        values, places = best(scores, k)
        places = torch.where(places < 0, places, places + first)
        if found is None:
            found = values, places
            continue
        values, places = torch.cat([found[0], values], 1), torch.cat([found[1], places], 1)
        values, columns = best(values, k)  # the earlier columns hold the lower places
        found = values, places.gather(1, columns.clamp(min=0)).masked_fill_(columns < 0, -1)
    assert found is not None
    return found


def _best_of_groups(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """As ``topk``, four times as fast on a wide row: the k highest are in the k groups with the highest maxima."""
    columns = scores.shape[1]
    whole = columns - columns % _GROUP
    grouped = scores[:, :whole].unflatten(1, (-1, _GROUP))
    groups = grouped.amax(2).topk(k, 1, sorted=False).indices
    candidates = grouped.gather(1, groups[:, :, None].expand(-1, -1, _GROUP)).flatten(1)
    values, places = torch.cat([candidates, scores[:, whole:]], 1).topk(k, 1)
    in_groups = groups.gather(1, (places // _GROUP).clamp(max=k - 1)) * _GROUP + places % _GROUP
    return values, torch.where(places < k * _GROUP, in_groups, places - k * _GROUP + whole)


def _in_column_order(scores: Tensor, found: Tensor) -> tuple[Tensor, Tensor]:
    """The highest of rows that have equal ones among them, or just behind: the first of these are taken."""
    k = found.shape[1]
    values, places = torch.empty_like(found), torch.empty(found.shape, dtype=torch.int64, device=found.device)
    for start, stop in blocks(*scores.shape):
        part, last = scores[start:stop], found[start:stop, -1:]
        above, equal = part > last, part == last
        taken = above | (equal & (equal.cumsum(1, dtype=torch.int32) <= k - above.sum(1, keepdim=True)))
        column = taken.nonzero()[:, 1].view(-1, k)
        ordered = part.gather(1, column).sort(dim=1, descending=True, stable=True)
        values[start:stop], places[start:stop] = ordered.values, column.gather(1, ordered.indices)
    return values, places
