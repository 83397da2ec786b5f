"""Files and streams of results."""

import io
import json
import stat

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rechub_cli.data.source import Source
from rechub_cli.data.writers import open_writer
from rechub_cli.errors import CannotCreate, DataError, UsageError

TABLE = pa.table(
    {
        "user": ["a", 'x,"y"', None, "línea\ndos", "tab\there"],
        "id": pa.array([1, -(2**63), None, 2**63 - 1, 0]),
        "score": pa.array([0.1, 1 / 3, None, 1e-7, 1.0], pa.float32()),
        "city": pa.array(["p", "q", None, "p", "q"]).dictionary_encode(),
        "hist": [[1, 2], [], None, [3], [None, 4]],
    }
)


def write(target, *tables, **options):
    with open_writer(str(target), **options) as writer:
        for table in tables:
            writer.write(table)


def streamed(*tables, **options):
    stream = io.BytesIO()
    write("-", *tables, stream=stream, **options)
    return stream.getvalue()


@pytest.mark.parametrize("suffix", ["parquet", "arrow", "arrows", "csv", "tsv", "jsonl", "csv.gz", "jsonl.zst"])
def test_what_is_written_reads_back_the_same(tmp_path, suffix):
    path = tmp_path / f"out.{suffix}"
    write(path, TABLE.slice(0, 2), TABLE.slice(2))
    rows = [row for c in Source.open([path.name], base=tmp_path).tables() for row in c.table.to_pylist()]
    expected = TABLE.to_pylist()
    if suffix.startswith(("csv", "tsv")):
        for row in expected:
            row["hist"] = "|".join("" if i is None else str(i) for i in row["hist"]) or None if row["hist"] else None
    for row in rows:
        row["score"] = None if row["score"] is None else float(np.float32(row["score"]))
    assert rows == expected


def test_csv_quotes_only_what_needs_it():
    assert streamed(TABLE).decode().splitlines()[:3] == [
        "user,id,score,city,hist",
        "a,1,0.1,p,1|2",
        '"x,""y""",-9223372036854775808,0.33333334,q,',
    ]


def test_a_single_empty_cell_is_still_a_row(tmp_path):
    write(tmp_path / "a.csv", pa.table({"x": ["a", None, "b"]}))
    chunks = list(Source.open(["a.csv"], base=tmp_path).tables())
    assert [row["x"] for row in chunks[0].table.to_pylist()] == ["a", None, "b"]


def test_the_header_comes_once_and_can_be_left_out():
    table = pa.table({"x": [1, 2]})
    assert streamed(table, table) == b"x\n1\n2\n1\n2\n"
    assert streamed(table, header=False) == b"1\n2\n"


def test_json_has_no_nan_and_any_text():
    table = pa.table({'a "b"': [float("nan"), float("inf"), 1.5], "t": ['"\\\x01', "é", None]})
    rows = [json.loads(line) for line in streamed(table, format="jsonl").splitlines()]
    assert rows == [{'a "b"': None, "t": '"\\\x01'}, {'a "b"': None, "t": "é"}, {'a "b"': 1.5, "t": None}]


def test_floats_read_back_to_the_very_same(tmp_path):
    values = np.random.default_rng(0).standard_normal(2000).astype(np.float32) * np.float32(10.0) ** np.arange(
        -20, 20
    ).repeat(50)
    write(tmp_path / "a.csv", pa.table({"x": pa.array(values, pa.float32())}))
    (chunk,) = Source.open(["a.csv"], base=tmp_path).tables()
    assert np.array_equal(chunk.table["x"].to_numpy().astype(np.float32), values.astype(np.float32))


@pytest.mark.parametrize("suffix", ["parquet", "arrow", "csv"])
def test_no_rows_are_still_a_file_with_columns(tmp_path, suffix):
    write(tmp_path / f"a.{suffix}", TABLE.slice(0, 0))
    assert list(Source.open([f"a.{suffix}"], base=tmp_path).column_kinds()) == TABLE.column_names


@pytest.mark.parametrize("format", ["parquet", "arrow"])
def test_binary_formats_stream(format):
    data = pa.BufferReader(streamed(TABLE, format=format))
    table = pq.read_table(data) if format == "parquet" else pa.ipc.open_stream(data).read_all()
    assert table.to_pylist() == TABLE.to_pylist()
    assert table.schema.field("city").type == pa.string()


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl", "arrow", "csv.gz"])
def test_a_failure_leaves_the_old_file_whole_and_nothing_beside_it(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(b"old")

    def fail():
        with open_writer(str(path), overwrite=True) as writer:
            writer.write(TABLE)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("format", ["parquet", "arrow"])
def test_a_stream_that_failed_has_no_ending_that_makes_it_look_complete(format):
    stream = io.BytesIO()

    def fail():
        with open_writer("-", format=format, stream=stream) as writer:
            writer.write(TABLE)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not stream.getvalue().endswith((b"PAR1", b"\xff\xff\xff\xff\0\0\0\0"))


def test_an_existing_file_is_kept_unless_overwriting_is_asked_for(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("old")
    with pytest.raises(CannotCreate, match="exists; use --overwrite"):
        write(path, TABLE)
    assert path.read_text() == "old"
    write(path, TABLE, overwrite=True)
    assert path.read_text().startswith("user,id")


def test_where_nothing_can_be_written_is_cannot_create(tmp_path):
    with pytest.raises(CannotCreate, match="there is no directory"):
        write(tmp_path / "gone" / "a.csv", TABLE)
    (tmp_path / "dir.csv").mkdir()
    with pytest.raises(CannotCreate, match="it is a directory"):
        write(tmp_path / "dir.csv", TABLE, overwrite=True)


def test_a_full_disk_is_cannot_create():
    with open("/dev/full", "wb", buffering=0) as full, pytest.raises(CannotCreate, match="No space left"):
        write("-", TABLE, stream=full)


def test_a_device_is_written_and_not_replaced():
    write("/dev/null", TABLE, format="csv")
    import os

    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


@pytest.mark.parametrize(
    ("name", "format", "message"),
    [
        ("a.txt", None, "suffix tells no format"),
        ("a", None, "suffix tells no format"),
        ("a.parquet.gz", None, "compressed inside"),
        ("a.csv", "xlsx", "no output format 'xlsx'"),
    ],
)
def test_a_format_that_is_not_there_is_a_usage_error_and_writes_nothing(tmp_path, name, format, message):
    with pytest.raises(UsageError, match=message):
        write(tmp_path / name, TABLE, format=format)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "kind"),
    [("out.parquet", pa.timestamp("s", "Europe/Berlin")), ("out.csv", pa.timestamp("us", "Nowhere/Land"))],
)
def test_a_moment_that_the_format_cannot_hold_is_a_data_error_and_leaves_no_file(tmp_path, name, kind):
    beyond = pa.array([-(2**63)], pa.int64()).cast(kind)
    with (
        pytest.raises(DataError, match=r"a value cannot be written: .*; leave its column out"),
        open_writer(str(tmp_path / name)) as writer,
    ):
        writer.write(pa.table({"ts": beyond}))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("beside", [False, True])
def test_numbers_are_compressed_and_vectors_are_not(tmp_path, beside):
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(np.arange(4000, dtype=np.float32)), 4)
    columns = {"id": pa.array(range(1000)), "embedding": vectors}
    if beside:  # a user's own lists: everything is compressed
        columns["tags"] = pa.array([[1, 2]] * 1000)
    with open_writer(str(tmp_path / "out.parquet")) as writer:
        writer.write(pa.table(columns))
    group = pq.ParquetFile(tmp_path / "out.parquet").metadata.row_group(0)
    codecs = {group.column(i).path_in_schema.split(".")[0]: group.column(i).compression for i in range(len(columns))}
    assert codecs == dict.fromkeys(columns, "ZSTD") | ({} if beside else {"embedding": "UNCOMPRESSED"})
    assert pq.read_table(tmp_path / "out.parquet").equals(pa.table(columns))
