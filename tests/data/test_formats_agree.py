"""The same rows are encoded alike, whatever format they come in and whichever format the encoder was fitted on."""

from __future__ import annotations

import datetime
import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from fake_rows import spec

from rechub_cli.data.encoder import Encoder
from rechub_cli.data.source import Source
from rechub_cli.data.writers import open_writer

N = 400
FILES = ["a.parquet", "a.csv", "a.tsv", "a.jsonl", "a.arrow", "a.arrows", "a.csv.gz", "a.jsonl.zst"]
SPEC = spec(
    {
        **{name: {"type": "sparse"} for name in ("long", "longer", "text", "flag", "half", "day")},
        "bucket": {"type": "sparse", "column": "long", "hash_buckets": 50},
        "when": {"type": "datetime", "parts": ["minute", "hour", "weekday", "week", "year", "date"]},
        "utc": {"type": "datetime", "parts": ["hour", "date"]},
        "number": {"type": "dense", "flag_missing": True},
        "count": {"type": "dense", "transform": "quantile", "embedding": "piecewise_linear"},
        "hist": {"type": "sequence", "shares": "long", "max_len": 3},
        "tags": {"type": "sequence", "min_count": 2},
    },
    labels={"y": {}},
    weight="w",
    group="text",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One table with nulls everywhere, in every format."""
    random = np.random.default_rng(0)
    start = datetime.datetime(2026, 1, 1)
    moments = [start + datetime.timedelta(seconds=int(i)) for i in random.integers(0, 10_000_000, N)]

    def column(values: Any, type: pa.DataType | None = None) -> pa.Array:
        return pa.array(values, type, mask=random.random(N) < 0.1)

    table = pa.table(
        {
            "long": column(random.integers(2**60, 2**60 + 30, N)),
            "longer": column(np.uint64(2**63) + random.integers(0, 30, N).astype(np.uint64)),
            "text": column([f'v{i}, "{i}"' for i in random.integers(0, 40, N)]),
            "flag": column(random.random(N) < 0.3),
            "half": column(random.integers(0, 9, N) / 2),
            "day": column([moment.date() for moment in moments]),
            "when": column(moments, pa.timestamp("us")),
            "utc": column(moments, pa.timestamp("ms", "UTC")),
            "number": column(random.normal(size=N)),
            "count": column(random.integers(0, 1000, N)),
            "hist": column([random.integers(2**60, 2**60 + 40, n).tolist() for n in random.integers(0, 6, N)]),
            "tags": column([[f"t{i}" for i in random.integers(0, 30, n)] for n in random.integers(0, 4, N)]),
            "y": random.integers(0, 2, N),
            "w": random.random(N),
        }
    )
    made = tmp_path_factory.mktemp("formats")
    for name in FILES:
        with open_writer(str(made / name)) as writer:
            writer.write(table)
    return made


def encoded(encoder: Encoder, source: Source) -> list[Any]:
    blocks = [encoder.encode(chunk) for chunk in source.tables(rows=150)]
    rows = np.concatenate([block.rows for block in blocks])
    values = [np.concatenate([block.values[name] for block in blocks]).tolist() for name in ("hist", "tags")]
    return [rows.tolist(), *values]


def test_every_format_gives_the_same_rows(folder: Path) -> None:
    sources = {name: Source.open([name], base=folder) for name in FILES}
    fitted = Encoder.fit(SPEC, sources["a.parquet"])
    expected = encoded(fitted, sources["a.parquet"])
    for name, source in sources.items():
        assert encoded(fitted, source) == expected, name
        assert encoded(Encoder.fit(SPEC, source), source) == expected, name
        if name.count(".") == 1 and name != "a.tsv":
            pipe = io.BytesIO((folder / name).read_bytes())
            assert encoded(fitted, Source.open(["-"], base=folder, stdin=pipe)) == expected, f"{name} from a pipe"
