"""Data files that are broken in one way or several: a function of a seed and of a sound table."""

from __future__ import annotations

import bz2
import contextlib
import datetime
import decimal
import functools
import gzip
import io
import json
import random
import uuid
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

Values = Callable[[random.Random, int], Any]

NAMES = [
    "", " ", "a b", '"', "'", "a,b", "a;b", "a\tb", "a\nb", "a\r", "\x00", "a\x00b", "\x1b[31m", "\x7f", "é", "💥", "\u202e", "x" * 5000, "null",
    "score", "embedding", "rank", "click", "user_id", "item_id", "user", "item", "__index_level_0__", "rechub.count", ".", "..", "a/b", "*", "[",
    "%s", "{0}", "features", "=1+1", "-", "<<", "ts.hour", "past.item_id", "weight", "\ufeffuser_id", "USER_ID", "user_id ",
]  # fmt: skip

_DAY = datetime.date(2026, 11, 25)


def _column(make: Callable[[random.Random, int], Any], kind: pa.DataType | None = None) -> Values:
    return lambda rng, n: pa.array([make(rng, i) for i in range(n)], kind)


def _some(values: list[Any], kind: pa.DataType | None = None) -> Values:
    return _column(lambda rng, i: rng.choice(values), kind)


def _union(rng: random.Random, n: int) -> Any:
    return pa.UnionArray.from_sparse(
        pa.array([i % 2 for i in range(n)], pa.int8()), [pa.array(range(n)), pa.array(["a"] * n)]
    )


def _ends(rng: random.Random, n: int) -> Any:
    ends, values = ([n], [rng.choice([1, None])]) if n else ([], [])
    return pa.RunEndEncodedArray.from_arrays(pa.array(ends, pa.int32()), pa.array(values, pa.int64()))


def _dictionary(rng: random.Random, n: int) -> Any:
    values = rng.choice([["a", "a", "b", None], ["a"], [1, 2, 3], ["\0", "", "é"], [b"\xff"], [_DAY]])
    codes = pa.array(
        [rng.choice([None, *range(len(values))]) for _ in range(n)], rng.choice([pa.int8(), pa.int64(), pa.uint32()])
    )
    return pa.DictionaryArray.from_arrays(codes, pa.array(values))


COLUMNS: dict[str, Values] = {
    "null": lambda rng, n: pa.nulls(n),
    "nulls of text": lambda rng, n: pa.nulls(n, pa.string()),
    "bool": _some([True, False, None]),
    "int8": _some([-128, 127, 0, None], pa.int8()),
    "int64": _some([-(2**63), 2**63 - 1, 0, None], pa.int64()),
    "uint64": _some([2**64 - 1, 2**63, 0, None], pa.uint64()),
    "half": lambda rng, n: pa.array(np.array([rng.choice([0, 1, np.nan, np.inf, 6e4]) for _ in range(n)], np.float16)),
    "float32": _some([0.0, 1.0, float("nan"), float("inf"), -float("inf"), 3e38, 1e-45, None], pa.float32()),
    "float64": _some([0.0, 1.0, -0.0, float("nan"), float("inf"), 1e308, 5e-324, 2.0**53 + 2, 1e300, None], pa.float64()),
    "nan": lambda rng, n: pa.array([float("nan")] * n),
    "inf": _some([0.0, 1.0, float("inf")]),
    "zero and one": _some([0, 1]),
    "one class": lambda rng, n: pa.array([1] * n),
    "negative": _some([-1, -0.5, 0.0]),
    "two": _some([0, 1, 2]),
    "text": _some(["", " ", "a", "A", "é", "e\u0301", "💥", "\0", "a\0b", "\u202e", "nan", "NULL", "1", "01", "1.0", "|", "a|b||c", "x" * 3000, None]),
    "text of numbers": _some(["0", "1", " 1", "1e999", "-", "0x1f", "inf", "1_000", "١"]),
    "large text": _some(["a", None], pa.large_string()),
    "a huge cell": lambda rng, n: pa.array(["x" * 3_000_000, *["a"] * (n - 1)][:n]),
    "a long list as text": lambda rng, n: pa.array(["1|" * 500_000, *["1"] * (n - 1)][:n]),
    "string view": _some(["a", "a long text that is not inlined", None], pa.string_view()),
    "binary": _some([b"", b"a", b"\xff\xfe", b"\0", None], pa.binary()),
    "large binary": _some([b"a", None], pa.large_binary()),
    "binary view": _some([b"a", None], pa.binary_view()),
    "fixed binary": _some([b"abcd", b"\0\0\0\0", None], pa.binary(4)),
    "uuid": lambda rng, n: pa.ExtensionArray.from_storage(pa.uuid(), pa.array([uuid.UUID(int=i).bytes for i in range(n)], pa.binary(16))),
    "decimal": _some([decimal.Decimal("1.50"), decimal.Decimal("-99999999999999999999.99"), None], pa.decimal128(38, 2)),
    "large decimal": _some([decimal.Decimal(10) ** 70, decimal.Decimal(1), None], pa.decimal256(76, 0)),
    "date": _some([_DAY, datetime.date(1, 1, 1), datetime.date(9999, 12, 31), None], pa.date32()),
    "date64": _some([_DAY, None], pa.date64()),
    "moments": lambda rng, n: pa.array([rng.choice([0, 1, -(2**63), 2**63 - 1, 2**53, None]) for _ in range(n)], pa.int64()).cast(
        pa.timestamp(rng.choice(["s", "ms", "us", "ns"]), rng.choice([None, "UTC", "Europe/Berlin", "+05:30"]))
    ),
    "moments of no zone": lambda rng, n: pa.array([0] * n, pa.int64()).cast(pa.timestamp("us", "Nowhere/Nix")),
    "time": _some([datetime.time(1, 2, 3), None], pa.time64("us")),
    "duration": _some([datetime.timedelta(days=-1), datetime.timedelta(0), None], pa.duration("us")),
    "interval": _some([(1, 2, 3), None], pa.month_day_nano_interval()),
    "struct": _some([{"a": 1, "b": None}, None]),
    "empty struct": _some([{}], pa.struct([])),
    "map": _some([[("a", 1)], [], None], pa.map_(pa.string(), pa.int64())),
    "list of numbers": _some([[1, 2], [], [None], None], pa.list_(pa.int64())),
    "list of floats": _some([[0.5, float("nan")], [float("inf")], [], None], pa.list_(pa.float32())),
    "list of text": _some([["a", ""], ["é", None], [], None], pa.large_list(pa.string())),
    "list of nothing": _some([[None], [], None], pa.list_(pa.null())),
    "list of lists": _some([[[1], []], [None], None], pa.list_(pa.list_(pa.int64()))),
    "list of structs": _some([[{"a": 1}], None], pa.list_(pa.struct([("a", pa.int64())]))),
    "fixed list": _some([[1.0, 2.0], None], pa.list_(pa.float32(), 2)),
    "list view": _some([[1, 2], [], None], pa.list_view(pa.int64())),
    "a long list": lambda rng, n: pa.array([[1] * 2_000_000, *[[1]] * (n - 1)][:n], pa.list_(pa.int64())),
    "dictionary": _dictionary,
    "list of dictionaries": lambda rng, n: pa.ListArray.from_arrays(pa.array(range(n + 1), pa.int32()), _dictionary(rng, n)),
    "union": _union,
    "run ends": _ends,
}  # fmt: skip


def broken_table(rng: random.Random, table: pa.Table) -> pa.Table:
    """One or two faults of columns or rows."""
    for _ in range(rng.choice([1, 1, 1, 2])):
        names, n = table.column_names, len(table)
        place = rng.randrange(max(len(names), 1))
        match rng.choice(["column"] * 8 + ["name", "twice", "gone", "more", "rows", "nulls", "metadata", "order"]):
            case "column" if names:
                kind = rng.choice(list(COLUMNS))
                table = table.set_column(place, names[place], COLUMNS[kind](rng, n))
            case "name" if names:
                names[place] = rng.choice(NAMES)
                table = table.rename_columns(names)
            case "twice" if names:
                table = table.append_column(names[place], table.column(rng.randrange(len(names))))
            case "gone" if names:
                table = table.remove_column(place)
            case "more":
                for _ in range(rng.choice([1, 3, 300])):
                    table = table.append_column(rng.choice(NAMES) + str(rng.randrange(9)), pa.array(range(n)))
            case "rows":
                table = table.slice(0, rng.choice([0, 0, 1, 2, 3]))
            case "nulls" if names:
                table = pa.table([pa.nulls(n, field.type) for field in table.schema], names=names)
            case "metadata":
                junk = rng.choice([b"", b"{", b"[" * 9999, b"\xff", b'{"columns": 1}', rng.randbytes(99)])
                table = table.replace_schema_metadata(
                    {rng.choice([b"pandas", b"huggingface", b"ARROW:schema", b"\xff"]): junk}
                )
            case "order":
                with contextlib.suppress(pa.ArrowNotImplementedError):  # of run ends, and others
                    table = table.take(pa.array(rng.sample(range(n), n), pa.int64()))
    return table


# what a table is written as


def _parquet(rng: random.Random, table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(
        table, sink, compression=rng.choice(["none", "snappy", "zstd", "gzip", "brotli", "lz4"]),
        row_group_size=rng.choice([1 if len(table) < 400 else 100, 7, 100_000]), use_dictionary=rng.random() < 0.7,
        version=rng.choice(["1.0", "2.4", "2.6"]), data_page_version=rng.choice(["1.0", "2.0"]), coerce_timestamps=rng.choice([None, "ms"]),
        allow_truncated_timestamps=True, store_schema=rng.random() < 0.8, write_statistics=rng.random() < 0.5,
    )  # fmt: skip
    return sink.getvalue()


def _rows(table: pa.Table) -> list[dict[str, Any]]:
    return [
        dict(zip(table.column_names, row, strict=True))
        for row in zip(*(_listed(column) for column in table.columns), strict=True)
    ]


def _listed(column: pa.ChunkedArray) -> list[Any]:
    try:
        return [value.as_py() for value in column]
    except (
        ValueError,
        OverflowError,
        UnicodeDecodeError,
        pa.ArrowException,
        ModuleNotFoundError,
        KeyError,
        LookupError,
    ):
        return [None] * len(column)


def _jsonl(rng: random.Random, table: pa.Table) -> bytes:
    return "".join(json.dumps(row, default=str) + "\n" for row in _rows(table)).encode("utf-8", "surrogateescape")


def _csv(rng: random.Random, table: pa.Table, delimiter: str = ",") -> bytes:
    sink = io.BytesIO()
    plain = [
        pa.array([None if value is None else str(value) for value in _listed(column)], pa.string())
        for column in table.columns
    ]
    names = [name.replace("\0", "") for name in table.column_names]
    try:
        options = pacsv.WriteOptions(delimiter=delimiter, quoting_style=rng.choice(["needed", "all_valid"]))
        pacsv.write_csv(pa.table(plain, names=names), sink, options)
    except pa.ArrowException:
        return delimiter.join(names).encode()
    return sink.getvalue()


def _arrow(rng: random.Random, table: pa.Table) -> bytes:
    sink = io.BytesIO()
    new = rng.choice([pa.ipc.new_file, pa.ipc.new_stream])
    options = pa.ipc.IpcWriteOptions(compression=rng.choice([None, "zstd", "lz4"]))
    with new(sink, table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=rng.choice([None, 7]))
    return sink.getvalue()


FORMATS: dict[str, Callable[[random.Random, pa.Table], bytes]] = {
    "parquet": _parquet,
    "csv": _csv,
    "tsv": lambda rng, table: _csv(rng, table, "\t"),
    "jsonl": _jsonl,
    "arrow": _arrow,
}


# what happens to the bytes


def _cut(rng: random.Random, data: bytes) -> bytes:
    return data[
        : rng.choice(
            [0, 1, 4, 8, 12, len(data) // 2, len(data) - 1, len(data) - 4, len(data) - 8, rng.randrange(len(data) + 1)]
        )
    ]


def _flipped(rng: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice([1, 2, 8, 64])):
        if changed:
            # heads and tails hold what readers trust
            low, high = rng.choice([(0, 200), (max(0, len(changed) - 800), len(changed)), (0, len(changed))])
            changed[rng.randrange(low, max(low + 1, min(high, len(changed))))] = rng.choice(
                [0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)]
            )
    return bytes(changed)


def _footer(rng: random.Random, data: bytes) -> bytes:
    length = rng.choice([0, 1, 7, len(data), len(data) - 12, 2**31 - 1, 2**31, 2**32 - 1]) & 0xFFFFFFFF
    return data[:-8] + length.to_bytes(4, "little") + rng.choice([b"PAR1", b"PARE", b"ARRO", b"\0\0\0\0"])


def _bits(rng: random.Random, data: bytes) -> bytes:
    place = rng.randrange(len(data) + 1)
    piece = rng.choice(
        [
            b"\0",
            b"\n",
            b'"',
            b"\r",
            b",",
            b"\t",
            b"\xff",
            b"\xef\xbb\xbf",
            b"{",
            b"]",
            b"\\",
            b"\x1a",
            b"PAR1",
            rng.randbytes(50),
            data[:100],
        ]
    )
    return data[:place] + piece + data[place:]


def _lines(rng: random.Random, data: bytes) -> bytes:
    lines = data.split(b"\n")
    place = rng.randrange(len(lines))
    odd = [
        b"", b",", b"a", b",".join([b"1"] * 50), b'"', b'"a', b'a"b"c', b"\0", b"\xff\xfe", b"{", b"{}", b"[]", b"null", b'{"user_id": {"a": 1}}', b"{'a': 1}",
        b'{"user_id": 1, "user_id": 2}', b'{"a": 1e999}', b'{"a": NaN}', b'{"a": ' + b"[" * 5000, b'{"user_id": "\\ud800"}', b"=1+1", lines[0], b"x" * 2_000_000,
    ]  # fmt: skip
    if rng.random() < 0.7:
        lines.insert(place, rng.choice(odd))
    else:
        lines[place] = rng.choice(odd)
    return rng.choice([b"\n", b"\n", b"\r\n", b"\r"]).join(lines)


def _encoded(rng: random.Random, data: bytes) -> bytes:
    text = data.decode("utf-8", "replace")
    return rng.choice(
        [
            text.encode("utf-16"),
            text.encode("utf-16-le"),
            b"\xef\xbb\xbf" + data,
            text.encode("latin-1", "replace").replace(b"?", b"\xe9"),
            data * 2,
        ]
    )


BOMBS = {
    "zeros": b"\0",
    "letters": b"x",
    "lines": b"\n",
    "cells": b"1,",
    "quotes": b'"',
    "brackets": b"[",
    "rows": b"{}\n",
}


@functools.cache
def bomb(kind: str) -> bytes:
    """A small file that becomes 400 MB."""
    piece = BOMBS[kind]
    sink = io.BytesIO()
    with gzip.GzipFile(fileobj=sink, mode="wb", compresslevel=1) as file:
        block = piece * (4_000_000 // len(piece))
        for _ in range(100):
            file.write(block)
    return sink.getvalue()


def broken_file(rng: random.Random, table: pa.Table) -> tuple[str, bytes]:
    """Its suffix, and its content."""
    name = rng.choice([*FORMATS, "parquet", "csv"])
    if rng.random() < 0.01:
        return f"{rng.choice(['csv', 'jsonl', 'tsv'])}.gz", bomb(rng.choice(list(BOMBS)))
    if rng.random() < 0.75:
        table = broken_table(rng, table)
    try:
        data = FORMATS[name](rng, table)
    except (pa.ArrowException, ValueError, OSError, NotImplementedError):  # a type that this format has not
        name, data = "arrow", _arrow(rng, table)
    if rng.random() < 0.45:
        text = name in ("csv", "tsv", "jsonl")
        data = rng.choice([_cut, _flipped, _flipped, _bits, *([_lines, _lines, _encoded] if text else [_footer])])(
            rng, data
        )
    suffix = name
    if rng.random() < 0.12:
        pack, end = rng.choice(
            [
                (gzip.compress, "gz"),
                (bz2.compress, "bz2"),
                (lambda data: pa.compress(data, "zstd", asbytes=True), "zst"),
            ]
        )
        data, suffix = pack(data), f"{name}.{end}"
        if rng.random() < 0.4:
            data = rng.choice([_cut, _flipped])(rng, data)
    if rng.random() < 0.04:
        suffix = rng.choice([*FORMATS, "csv.gz", "parquet.gz", "arrow.zst", "txt", "CSV", "json"])
    return suffix, data
