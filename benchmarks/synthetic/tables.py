"""How a data set lies on disk: ``raw/`` as a log has it, and ``ids/`` for loops that need integers from 1 on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

ROW_GROUP = 65_536


def write(
    folder: Path,
    rows: int,
    raw: Mapping[str, Any],
    ids: Mapping[str, Any],
    *,
    labels: Sequence[str] = ("label",),
    sparse: Mapping[str, int],
    dense: Sequence[str] = (),
    sequences: Mapping[str, str] | None = None,
) -> None:
    """The first ``rows`` rows as ``train.parquet``, the others as ``test.parquet``, of both kinds.

    Args:
        sparse: the largest id plus one of each column of ``ids``; 0 is padding.
        sequences: column of lists -> the sparse column whose ids it holds.
    """
    for name, columns in (("raw", raw), ("ids", ids)):
        target = folder / name
        target.mkdir(parents=True, exist_ok=True)
        table = pa.table(dict(columns))
        pq.write_table(table.slice(0, rows), target / "train.parquet", row_group_size=ROW_GROUP)
        pq.write_table(table.slice(rows), target / "test.parquet", row_group_size=ROW_GROUP)
    meta = {"labels": list(labels), "sparse": dict(sparse), "dense": list(dense), "sequences": dict(sequences or {})}
    (folder / "ids" / "meta.json").write_text(json.dumps(meta))
