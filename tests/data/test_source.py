"""Files, directories, globs and pipes as one stream of rows."""

import gzip
import io
import threading
import uuid
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rechub_cli.data.prefetch import prefetch
from rechub_cli.data.source import Source
from rechub_cli.data.writers import open_writer
from rechub_cli.errors import DataError, NoInput, UsageError


def rows_of(source, columns=None, rows=1000):
    chunks = list(source.tables(columns, rows))
    return [row for chunk in chunks for row in chunk.table.to_pylist()]


def write(path, columns, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, **options)


def test_a_directory_a_glob_and_a_list_give_the_same_rows_in_the_order_of_names(tmp_path):
    for i in (2, 0, 1):
        write(tmp_path / f"log/part-{i}.parquet", {"x": [i * 10, i * 10 + 1]})
    (tmp_path / "log/_SUCCESS").touch()
    (tmp_path / "log/.part-0.parquet.crc").touch()
    expected = [{"x": x} for x in (0, 1, 10, 11, 20, 21)]
    for paths in (["log"], ["log/*"], ["log/part-?.parquet", "log/part-1.parquet"]):
        assert rows_of(Source.open(paths, base=tmp_path)) == expected
    assert rows_of(Source.open(["log/part-1.parquet", "log/part-0.parquet"], base=tmp_path))[0] == {"x": 10}


def test_hive_keys_in_a_path_are_columns_of_their_own_type(tmp_path):
    write(tmp_path / "day=2026-01-01/hour=07/a.parquet", {"x": [1]})
    write(tmp_path / "day=2026-01-02/hour=__HIVE_DEFAULT_PARTITION__/a.parquet", {"x": [2]})
    source = Source.open(["day=*"], base=tmp_path)
    assert source.column_kinds() == {"x": "integer", "day": "date", "hour": "string"}
    assert [(str(row["day"]), row["hour"], row["x"]) for row in rows_of(source)] == [
        ("2026-01-01", "07", 1),
        ("2026-01-02", None, 2),
    ]
    assert [row["day"].day for row in rows_of(source, ["day"])] == [1, 2]


@pytest.mark.parametrize("group", [1, 7, 100])
@pytest.mark.parametrize("rows", [1, 3, 64, 1000])
def test_chunks_neither_lose_nor_repeat_rows_whatever_the_row_groups(tmp_path, group, rows):
    lists = [[i] * (i % 4) for i in range(100)]
    columns = {"i": range(100), "text": [f"t{i % 9}" if i % 5 else None for i in range(100)], "list": lists}
    write(tmp_path / "a.parquet", columns, row_group_size=group)
    chunks = list(Source.open(["a.parquet"], base=tmp_path).tables(["list", "i", "text"], rows))
    assert all(len(chunk) <= rows for chunk in chunks)
    assert all(len(chunk) == rows for chunk in chunks[:-1])
    table = pa.concat_tables([chunk.table for chunk in chunks])
    assert table.column_names == ["list", "i", "text"]
    assert table.column("list").to_pylist() == lists
    assert table.column("text").to_pylist() == columns["text"]
    assert [chunk.first_row for chunk in chunks] == list(range(0, 100, rows))


def test_integer_widths_unify_and_stay_exact_over_files(tmp_path):
    write(tmp_path / "a.parquet", {"id": pa.array([1, 2], pa.int32())})
    write(tmp_path / "b.parquet", {"id": pa.array([2**60 + 1, None], pa.int64())})
    source = Source.open(["*.parquet"], base=tmp_path)
    assert source.schema.field("id").type == pa.int64()
    assert [row["id"] for row in rows_of(source)] == [1, 2, 2**60 + 1, None]


def test_views_are_what_they_view_and_a_uuid_is_its_text(tmp_path):
    ids = [uuid.UUID(int=1), None, uuid.UUID(int=2)]
    table = pa.table(
        {
            "a": pa.array(["x", "y", None], pa.string_view()),
            "b": pa.array([b"x", None, b"y"], pa.binary_view()),
            "u": pa.array([one and one.bytes for one in ids], pa.uuid()),
        }
    )
    for name in ("a.arrow", "a.parquet"):
        with open_writer(str(tmp_path / name)) as writer:
            writer.write(table)
        source = Source.open([name], base=tmp_path, filter="a == 'x' or u is not null")
        assert source.column_kinds() == {"a": "string", "b": "binary", "u": "string"}
        assert rows_of(source) == [
            {"a": "x", "b": b"x", "u": str(ids[0])},
            {"a": None, "b": b"y", "u": str(ids[2])},
        ]


def test_unsigned_ids_beyond_63_bits_stay_exact(tmp_path):
    ids = [0, 2**63 + 1, 2**64 - 1]
    write(tmp_path / "a.parquet", {"id": pa.array(ids, pa.uint64())})
    (tmp_path / "a.jsonl").write_text("".join(f'{{"id": {i}}}\n' for i in ids))
    for name in ("a.parquet", "a.jsonl"):
        assert [row["id"] for row in rows_of(Source.open([name], base=tmp_path))] == ids


def test_files_whose_types_do_not_fit_are_an_error_that_names_both(tmp_path):
    write(tmp_path / "a.parquet", {"id": [1]})
    write(tmp_path / "b.parquet", {"id": ["x"]})
    with pytest.raises(DataError, match=r"column id is int64 in a\.parquet and .*string.* in b\.parquet"):
        _ = Source.open(["*.parquet"], base=tmp_path).schema


def test_a_column_that_only_some_files_have_is_an_error_when_it_is_read(tmp_path):
    write(tmp_path / "a.parquet", {"x": [1], "new": [1]})
    write(tmp_path / "b.parquet", {"x": [2]})
    source = Source.open(["*.parquet"], base=tmp_path)
    assert [row["x"] for row in rows_of(source, ["x"])] == [1, 2]
    with pytest.raises(DataError, match=r"b\.parquet has no column 'new'"):
        rows_of(source, ["new"])
    with pytest.raises(DataError, match="has no column 'nope'; there are: x, new"):
        rows_of(source, ["nope"])


def test_locate_names_file_and_data_row_also_behind_a_filter(tmp_path):
    write(tmp_path / "a.parquet", {"x": list(range(10))}, row_group_size=4)
    write(tmp_path / "b.parquet", {"x": list(range(10, 20))})
    source = Source.open(["*.parquet"], base=tmp_path, filter="x in [5, 7, 13]")
    found = {chunk.table["x"][i].as_py(): chunk.locate(i) for chunk in source.tables(rows=3) for i in range(len(chunk))}
    assert found == {5: "a.parquet, row 6", 7: "a.parquet, row 8", 13: "b.parquet, row 4"}
    assert (source.stats.rows_read, source.stats.rows_kept) == (20, 3)
    assert source.count_rows() is None


def test_rows_are_counted_from_footers_where_possible(tmp_path):
    write(tmp_path / "a.parquet", {"x": [1, 2]})
    write(tmp_path / "b.parquet", {"x": [3]})
    (tmp_path / "c.csv").write_text("x\n1\n")
    assert Source.open(["*.parquet"], base=tmp_path).count_rows() == 3
    assert Source.open(["c.csv"], base=tmp_path).count_rows() is None


def test_columns_that_are_text_elsewhere_can_be_kept_as_text(tmp_path):
    (tmp_path / "day=1").mkdir()
    (tmp_path / "day=1" / "a.csv").write_text("version,x\n1.50,2\n")
    source = Source.open(["day=*"], base=tmp_path)
    assert rows_of(source) == [{"version": 1.5, "x": 2, "day": 1}]
    assert rows_of(source.with_text(["version"])) == [{"version": "1.50", "x": 2, "day": 1}]
    (tmp_path / "day=1" / "a.csv").rename(tmp_path / "a.csv")
    (tmp_path / "day=1" / "b.jsonl").write_text('{"version": "1.50"}\n')
    assert rows_of(Source.open(["day=*"], base=tmp_path).with_text(["version"])) == [{"version": "1.50", "day": 1}]


def test_nothing_there_is_no_input(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "zero.parquet").touch()
    (tmp_path / "zero.csv").touch()
    (tmp_path / "notes.txt").write_text("x")
    for path in ("gone.parquet", "*.arrow", "empty"):
        with pytest.raises(NoInput, match="no file here"):
            Source.open([path], base=tmp_path)
    for path in ("zero.parquet", "zero.csv"):
        with pytest.raises(NoInput, match=f"{path} is empty"):
            Source.open([path], base=tmp_path).column_kinds()
    with pytest.raises(UsageError, match="suffix tells no format"):
        Source.open(["notes.txt"], base=tmp_path)


@pytest.mark.parametrize("damage", ["cut", "noise", "text"])
def test_a_damaged_parquet_file_is_a_data_error(tmp_path, damage):
    write(tmp_path / "a.parquet", {"x": np.arange(50_000), "s": [f"v{i}" for i in range(50_000)]})
    data = bytearray((tmp_path / "a.parquet").read_bytes())
    if damage == "cut":
        data = data[: len(data) // 2]
    elif damage == "noise":
        data[1000:60_000] = bytes(i * 37 % 251 for i in range(59_000))
    else:
        data = bytearray(b"user,item\n1,2\n")
    (tmp_path / "a.parquet").write_bytes(data)
    with pytest.raises(DataError, match=r"a\.parquet"):
        rows_of(Source.open(["a.parquet"], base=tmp_path))


@pytest.mark.parametrize("format", ["csv", "tsv", "jsonl", "arrow", "parquet"])
@pytest.mark.parametrize("known", [False, True])
def test_standard_input_is_told_by_its_first_bytes(format, known, tmp_path):
    table = pa.table({"id": [1, 2, 3], "name": ["a", None, "c"]})
    data = io.BytesIO()
    if format == "parquet":
        pq.write_table(table, data)
    elif format == "arrow":
        with pa.ipc.new_stream(data, table.schema) as writer:
            writer.write_table(table)
    else:
        data.write(
            {
                "csv": b"id,name\n1,a\n2,\n3,c\n",
                "tsv": b"id\tname\n1\ta\n2\t\n3\tc\n",
                "jsonl": b'{"id": 1, "name": "a"}\n{"id": 2}\n{"id": 3, "name": "c"}\n',
            }[format]
        )
    data.seek(0)
    types = {"id": pa.int64()} if known else None
    source = Source.open(["-"], base=tmp_path, stdin=data, types=types)
    assert source.column_kinds() == {"id": "integer", "name": "string"}
    assert rows_of(source) == table.to_pylist()
    if not known:
        assert rows_of(source) == table.to_pylist(), "it was kept, so that it can be read again"
    assert next(iter(source.files)).name == "standard input"


def test_a_pipe_of_a_known_type_is_read_as_it_comes(tmp_path):
    """The first rows arrive while the writer still holds the pipe open."""
    import os

    read, write_end = os.pipe()
    with os.fdopen(read, "rb") as reader, os.fdopen(write_end, "wb") as writer:
        sent = threading.Event()

        def feed():
            writer.write(b"id,name\n")
            writer.flush()
            for start in range(0, 400_000, 1000):
                writer.write(b"".join(b"%d,some name\n" % i for i in range(start, start + 1000)))
            writer.close()
            sent.set()

        thread = threading.Thread(target=feed)
        thread.start()
        source = Source.open(["-"], base=tmp_path, stdin=reader, types={"id": pa.int64()})
        chunks = source.tables(["id"], 1000)
        assert next(chunks).table["id"][:3].to_pylist() == [0, 1, 2]
        assert not sent.is_set()
        total = 1000 + sum(len(chunk) for chunk in chunks)
        thread.join()
    assert total == 400_000


def test_empty_standard_input_is_no_input(tmp_path):
    with pytest.raises(NoInput, match="standard input is empty"):
        Source.open(["-"], base=tmp_path, stdin=io.BytesIO())


def test_types_that_are_known_leave_other_columns_of_text_as_they_are(tmp_path):
    (tmp_path / "a.csv").write_text("id,code,price\n1,7,0.50\n2,8,1.00\n")
    source = Source.open(["a.csv"], base=tmp_path, types={"id": pa.string(), "price": pa.float64()})
    assert rows_of(source) == [{"id": "1", "code": "7", "price": 0.5}, {"id": "2", "code": "8", "price": 1.0}]
    filtered = Source.open(["a.csv"], base=tmp_path, types={"id": pa.string()}, filter="code > 7")
    assert [row["id"] for row in rows_of(filtered)] == ["2"]


def test_compressed_text_is_read_and_a_cut_one_is_a_data_error(tmp_path):
    text = ("id\n" + "\n".join(map(str, range(30_000))) + "\n").encode()
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(text))
    with pa.CompressedOutputStream(str(tmp_path / "b.csv.zst"), "zstd") as out:
        out.write(text)
    for name in ("a.csv.gz", "b.csv.zst"):
        assert len(rows_of(Source.open([name], base=tmp_path))) == 30_000
    (tmp_path / "c.csv.gz").write_bytes(gzip.compress(text)[:-2000])
    with pytest.raises(DataError, match=r"c\.csv\.gz"):
        rows_of(Source.open(["c.csv.gz"], base=tmp_path))


def test_a_consumer_that_stops_early_ends_the_reading_thread(tmp_path):
    write(tmp_path / "a.parquet", {"x": list(range(10_000))}, row_group_size=10)
    before = threading.active_count()
    chunks = Source.open(["a.parquet"], base=tmp_path).tables(rows=10)
    next(chunks)
    assert threading.active_count() > before
    chunks.close()
    assert threading.active_count() == before


def test_prefetch_raises_an_error_where_its_item_would_have_come():
    def items():
        yield 1
        yield 2
        raise ValueError("third")

    got = []
    with pytest.raises(ValueError, match="third"):
        got.extend(prefetch(items()))
    ahead = prefetch(items())
    assert [next(ahead), next(ahead)] == [1, 2]
    with pytest.raises(ValueError, match="third"):
        next(ahead)


@pytest.mark.parametrize("depth", [1, 3])
def test_prefetch_makes_no_more_items_than_it_may(depth):
    made = []

    def items():
        for number in range(10):
            made.append(number)
            yield number

    for number in prefetch(items(), depth):
        threading.Event().wait(0.01)  # time enough to make more
        assert number < len(made) <= number + 1 + depth
    assert made == list(range(10))


def test_names_in_messages_are_those_the_user_wrote(tmp_path):
    outside = tmp_path / "elsewhere" / "b.csv"
    outside.parent.mkdir()
    outside.write_text("x\n1\n")
    base = tmp_path / "spec"
    (base / "data").mkdir(parents=True)
    (base / "data/a.csv").write_text("x\n1\n")
    source = Source.open(["data/a.csv", str(outside)], base=base)
    assert [file.name for file in source.files] == [str(Path("data/a.csv")), str(outside)]
