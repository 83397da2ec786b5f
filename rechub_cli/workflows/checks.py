"""What validate looks at beyond single values: rows that two parts share, their times, lengths, sizes, funnels."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rechub_cli.data.types import is_text, plain
from rechub_cli.errors import RunFailed
from rechub_cli.schema import FIRST_UNSEEN
from rechub_cli.spec.model import Label, Sequence, Spec
from rechub_cli.workflows.capacity import check_memory, giga

if TYPE_CHECKING:
    from rechub_cli.data.block import Block
    from rechub_cli.data.chunk import Chunk
    from rechub_cli.data.encoder import Encoder
    from rechub_cli.schema import Schema

MANY_ROWS = 4_000_000  # of larger data one row in 16 is compared, chosen by its content
SHARED = 0.01  # of a part's rows, beyond what chance explains
CUT = 0.01  # of the rows, whose sequences are longer than max_len
SINGULAR = 0.5  # values of an id for each row


@dataclass(slots=True)
class Seen:
    """One part of the data, gathered chunk by chunk."""

    sampled: bool
    hashes: list[np.ndarray] = field(default_factory=list)
    times: list[pa.Scalar] = field(default_factory=list)
    lengths: dict[str, tuple[int, int]] = field(default_factory=dict)  # sequence -> rows that are cut, the longest
    leaps: dict[str, tuple[int, str]] = field(default_factory=dict)  # label -> rows out of its funnel, the first one
    n_bytes: int = 0  # encoded

    def add(self, chunk: Chunk, block: Block, spec: Spec) -> None:
        hashes = hash_rows(block)
        if spec.time in chunk.table.column_names:
            column = chunk.table.column(spec.time)
            ends = pc.min_max(column.cast(plain(column.type)))
            self.times += [end for end in (ends["min"], ends["max"]) if end.is_valid]
        self.hashes.append(hashes[hashes % 16 == 0] if self.sampled else hashes)
        self.n_bytes += block.rows.nbytes + sum(values.nbytes for values in block.values.values())
        for name, label in spec.labels.items():
            if label.after is not None:
                self._follow(chunk, block, list(spec.labels), name, label)
        for name, feature in spec.features.items():
            if isinstance(feature, Sequence):
                lengths = lengths_of(chunk.table.column(feature.column or name), feature.separator)
                cut, longest = self.lengths.get(name, (0, 0))
                cut += int(pc.sum(pc.greater(lengths, feature.max_len)).as_py() or 0)
                self.lengths[name] = cut, max(longest, pc.max(lengths).as_py() or 0)

    def _follow(self, chunk: Chunk, block: Block, names: list[str], name: str, label: Label) -> None:
        """Count the rows where a step of a funnel happened and the step before it did not."""
        values, before = block.labels[:, names.index(name)], block.labels[:, names.index(str(label.after))]
        happened = ~np.isnan(values) if label.type == "regression" else values == 1
        wrong = np.flatnonzero(happened & (before == 0))
        if len(wrong):
            count, first = self.leaps.get(name, (0, chunk.locate(int(wrong[0]))))
            self.leaps[name] = count + len(wrong), first

    @property
    def rows(self) -> np.ndarray:
        return np.concatenate(self.hashes) if self.hashes else np.zeros(0, np.uint64)

    @property
    def first(self) -> Any:
        return min((time.as_py() for time in self.times), default=None)

    @property
    def last(self) -> Any:
        return max((time.as_py() for time in self.times), default=None)


def hash_rows(block: Block) -> np.ndarray:
    """uint64 (n,): equal for rows of equal features and labels."""
    keys = np.random.default_rng(7).integers(1, 2**63, block.layout.width + 1, np.uint64) | np.uint64(1)
    found = np.zeros(len(block), np.uint64)
    for place in range(block.layout.labels.stop):
        found += block.rows[:, place].view(np.uint32) * keys[place]
        found ^= found >> np.uint64(29)
    for name, starts in block.starts().items():
        values = block.values[name].view(np.uint32).astype(np.uint64) * keys[-1]
        values ^= values >> np.uint64(31)
        sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(values * keys[0], dtype=np.uint64)])
        found += sums[starts[1:]] - sums[starts[:-1]]
        found *= keys[-1]
    return found


def lengths_of(column: pa.ChunkedArray, separator: str) -> pa.ChunkedArray:
    """How many values each cell holds."""
    column = column.cast(plain(column.type))
    if is_text(column.type):
        return pc.add(pc.count_substring(column, separator), 1)
    if pa.types.is_nested(column.type):
        return pc.list_value_length(column)
    return pa.chunked_array([pa.repeat(1, len(column))])


def faults_of(schema: Schema, seen: Mapping[str, Seen], spec: Spec, runs_dir: str) -> Iterator[str]:
    """What is wrong with the labels, and what will stop a training on this machine."""
    for name, part in seen.items():
        for label, (count, first) in part.leaps.items():
            before = spec.labels[label].after
            yield f"{name}: {count:,} rows have {label} without {before}, which comes before it; the first is {first}"
    try:
        check_memory(schema)
    except RunFailed as error:
        yield str(error)
    if spec.data.cache == "off":
        return
    place = Path(runs_dir).absolute()
    while not place.exists():
        place = place.parent
    need, free = sum(part.n_bytes for name, part in seen.items() if name != "test"), shutil.disk_usage(place).free
    if need > free:
        yield f"the encoded rows need {giga(need)} of disk, and {giga(free)} is free at {place}; set data.cache: off"


def remarks_of(encoder: Encoder, seen: Mapping[str, Seen], parts: Mapping[str, Any], spec: Spec) -> Iterator[str]:
    """What will train, and may still not be meant."""
    rows = parts["train"]["rows"]
    for feature in encoder.schema.of("sparse"):
        ids = feature.vocab_size - FIRST_UNSEEN - feature.oov_buckets
        if ids > max(SINGULAR * rows, 1000) and not feature.shares:
            yield f"{feature.name} has {ids:,} values in {rows:,} rows: most come once and teach nothing; set min_count"
        elif ids == 1:
            yield f"{feature.name} has but one value in train"
    yield from overlaps(seen)
    yield from order_in_time(seen, spec)
    for name, (cut, longest) in seen["train"].lengths.items():
        if cut > CUT * rows:
            yield (
                f"train: {cut / rows:.1%} of {name} are longer than max_len, the longest has {longest:,} values:"
                " only the last ones are used"
            )


def overlaps(seen: Mapping[str, Seen]) -> Iterator[str]:
    """Rows of valid and test that train has too: more of them than of train's own rows come twice."""
    train, counts = np.unique(seen["train"].rows, return_counts=True)
    twice = float(counts[counts > 1].sum() / max(counts.sum(), 1))
    for part, found in seen.items():
        rows = found.rows
        if part == "train" or not len(rows):
            continue
        share = float(np.isin(rows, train).mean())
        if share > 1.5 * twice + SHARED:
            yield (
                f"{part}: {share:.1%} of the rows also occur in train, label and all, though within train only"
                f" {twice:.1%} repeat: its scores will flatter"
            )


def order_in_time(seen: Mapping[str, Seen], spec: Spec) -> Iterator[str]:
    """Parts that begin before train ends."""
    end = seen["train"].last
    for part, found in seen.items():
        first = found.first
        if part != "train" and first is not None and type(first) is type(end) and first < end:
            yield (
                f"{part} begins at {first}, before train ends at {end} ({spec.time}): scores on it may be better"
                " than those on rows to come"
            )
