"""What a training will need of the machine, told before it is too late."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from rechub_cli.errors import RunFailed

if TYPE_CHECKING:
    from rechub_cli.schema import Schema

BYTES = 12  # of one embedding value in training: float32, and two moments of the same size
REMEDY = "use a smaller embed_dim or max_vocab, a larger min_count, or hash_buckets"


def check_memory(schema: Schema) -> None:
    """Raises RunFailed where the embeddings alone are more than this machine's memory."""
    tables = {feature.table: schema[feature.table] for feature in schema.of("sparse", "sequence")}
    need = sum(feature.vocab_size * feature.embed_dim for feature in tables.values()) * BYTES
    there = memory()
    if there is None or need <= there:
        return
    largest = max(tables.values(), key=lambda feature: feature.vocab_size * feature.embed_dim)
    raise RunFailed(
        f"the embeddings would need {giga(need)} of memory in training, and there is {giga(there)};"
        f" the largest is {largest.name}, {largest.vocab_size:,} ids x {largest.embed_dim}; {REMEDY}"
    )


def memory() -> int | None:
    """Bytes that this process may use: the machine's, or fewer where a container sets a limit."""
    found = []
    with contextlib.suppress(OSError, ValueError):
        found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):
            found.append(int(Path(limit).read_text()))
    return min(found, default=None)


def giga(size: float) -> str:
    return f"{size / 1e9:,.1f} GB" if size < 1e12 else f"{size / 1e12:,.0f} TB"
