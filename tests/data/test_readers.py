"""Formats: what is read is what was written, and what cannot be read is named."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rechub_cli.data.inputs import File
from rechub_cli.data.readers.arrow import Arrow
from rechub_cli.data.readers.csv import CSV
from rechub_cli.data.readers.jsonl import JSONL
from rechub_cli.data.source import Source
from rechub_cli.errors import DataError, NoInput


def read(path, columns=None):
    chunks = list(Source.open([path.name], base=path.parent).tables(columns))
    return pa.concat_tables([chunk.table for chunk in chunks]) if chunks else None


def csv(tmp_path, text, name="a.csv"):
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@pytest.mark.parametrize(
    ("cells", "type", "values"),
    [
        (["1", "-2", ""], pa.int64(), [1, -2, None]),
        (["1", "NA", " 3 "], pa.int64(), [1, None, 3]),
        (["1", "2.5", "1e-3"], pa.float64(), [1.0, 2.5, 0.001]),
        (["0.5", "nan", "NULL"], pa.float64(), [0.5, None, None]),
        (["True", "false", ""], pa.bool_(), [True, False, None]),
        (["007", "12", "0"], pa.string(), ["007", "12", "0"]),
        (["0x1f", "12", "3"], pa.string(), ["0x1f", "12", "3"]),
        (["+5", "12", "3"], pa.string(), ["+5", "12", "3"]),
        (["NA", "DE", ""], pa.string(), ["NA", "DE", None]),
        (["9223372036854775807", "1", "2"], pa.int64(), [2**63 - 1, 1, 2]),
        (["18446744073709551615", "1", "2"], pa.string(), ["18446744073709551615", "1", "2"]),
        (["12345678901234567", "0.5", "1"], pa.string(), ["12345678901234567", "0.5", "1"]),
        (["", "NA", ""], pa.null(), [None, None, None]),
    ],
)
def test_the_type_of_a_column_of_text_keeps_its_values_apart(tmp_path, cells, type, values):
    path = csv(tmp_path, "x,y\n" + "".join(f"{cell},1\n" for cell in cells))
    column = read(path)["x"]
    assert column.type == type
    assert column.to_pylist() == values


def test_dates_and_moments_are_recognised(tmp_path):
    table = read(csv(tmp_path, "d,t,z\n2026-01-02,2026-01-02 03:04:05,2026-01-02T03:04:05Z\n,2026-01-02,\n"))
    assert [str(type) for type in table.schema.types] == ["date32[day]", "timestamp[us]", "timestamp[us, tz=UTC]"]


def test_ids_that_look_like_integers_and_later_do_not_are_text_from_the_first_row(tmp_path):
    rows = [f"{i},{i % 7}\n" for i in range(400_000)] + ["abc,1\n"]
    path = csv(tmp_path, "id,x\n" + "".join(rows))
    source = Source.open(["a.csv"], base=tmp_path)
    assert source.column_kinds() == {"id": "integer", "x": "integer"}, "a quick look cannot know better"
    assert source.schema.field("id").type == pa.string()
    ids = read(path)["id"]
    assert ids[0].as_py() == "0"
    assert ids[-1].as_py() == "abc"


def test_two_text_files_are_read_as_one_type(tmp_path):
    csv(tmp_path, "x,y\n1,1\n", "a.csv")
    csv(tmp_path, "x,y\n0.5,1\n", "b.csv")
    tables = [chunk.table for chunk in Source.open(["*.csv"], base=tmp_path).tables()]
    assert [table["x"].to_pylist() for table in tables] == [[1.0], [0.5]]
    assert {table.schema.field("x").type for table in tables} == {pa.float64()}


def test_a_column_that_is_text_in_one_csv_file_is_text_in_all(tmp_path):
    csv(tmp_path, "id,x\n007,1\n", "a.csv")
    csv(tmp_path, "id,x\n12,2\n", "b.csv")
    source = Source.open(["*.csv"], base=tmp_path)
    assert [row for chunk in source.tables() for row in chunk.table.to_pylist()] == [
        {"id": "007", "x": 1},
        {"id": "12", "x": 2},
    ]
    assert source.column_kinds() == {"id": "string", "x": "integer"}


def test_a_row_that_is_too_long_is_told(tmp_path):
    with pytest.raises(DataError, match=r"longer than 1 MiB; is there a quote that is never closed\?"):
        read(csv(tmp_path, "a,b\n1," + "x" * 2_500_000 + "\n2,y\n"))


@pytest.mark.parametrize("end", ["", "\n", "\n4,z\n"])
def test_a_quote_that_swallows_the_rest_of_the_file_is_told(tmp_path, end):
    with pytest.raises(DataError, match=r"a.csv, row 2: the quote in column b is never closed"):
        read(csv(tmp_path, f'a,b\n1,x\n2,"y\n3,z{end}'))
    assert read(csv(tmp_path, 'a,b\n1,"x\ny, or z, or u\n"\n'))["b"].to_pylist() == ["x\ny, or z, or u\n"]


def test_cells_parted_by_semicolons_are_an_error_that_says_so(tmp_path):
    with pytest.raises(DataError, match="parted by ';'"):
        read(csv(tmp_path, "a;b\n1;2\n"))


def test_quotes_delimiters_and_line_breaks_inside_cells_survive(tmp_path):
    table = read(csv(tmp_path, '\ufeffa,b\r\n"x, ""y""",1\r\n"two\nlines",2\r\n'))
    assert table.to_pylist() == [{"a": 'x, "y"', "b": 1}, {"a": "two\nlines", "b": 2}]


def test_a_row_of_too_few_cells_is_named(tmp_path):
    path = csv(tmp_path, "a,b\n" + "1,2\n" * 300_000 + "3\n" + "4,5\n" * 10)
    with pytest.raises(DataError, match=r"a\.csv, row 300001: 1 cells where the header has 2: '3'"):
        read(path)


def test_a_cell_that_does_not_fit_a_known_type_is_named(tmp_path):
    csv(tmp_path, "a,b\n" + "1,2\n" * 200_000 + "1,x\n" + "1,2\n" * 10)
    source = Source.open(["a.csv"], base=tmp_path, types={"b": pa.int64()})
    with pytest.raises(DataError, match=r"a\.csv, row 200001: column b: 'x' is no integer"):
        list(source.tables(["b"]))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("a,a\n1,2\n", "the header names 'a' more than once"),
        (b"a,b\n1,\xff\xfe\n", "not UTF-8"),
        ("a,b\n1,2\n\n" + "3,4,5\n", "row 2: 3 cells where the header has 2"),
    ],
)
def test_broken_csv_is_a_data_error(tmp_path, data, message):
    with pytest.raises(DataError, match=message):
        read(csv(tmp_path, data))


@pytest.mark.parametrize("text", ["a,b\n", "a,b", "\n\na,b\r\n"])
def test_a_header_alone_is_a_file_without_rows(tmp_path, text):
    path = csv(tmp_path, text)
    assert Source.open(["a.csv"], base=tmp_path).column_kinds().keys() == {"a", "b"}
    assert read(path) is None


def test_csv_columns_come_in_the_order_asked_for(tmp_path):
    path = csv(tmp_path, "a,b,c\n1,2,3\n")
    assert read(path, ["c", "a"]).to_pylist() == [{"c": 3, "a": 1}]


def test_json_lines_with_keys_missing_lists_and_blank_lines(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"id": 1, "tags": ["a"]}\n\n{"tags": [], "price": 2}\n{"id": 3, "price": 0.5}')
    assert read(path).to_pylist() == [
        {"id": 1, "tags": ["a"], "price": None},
        {"id": None, "tags": [], "price": 2.0},
        {"id": 3, "tags": None, "price": 0.5},
    ]


def test_json_text_that_looks_like_a_date_for_a_while_stays_text(tmp_path):
    path = tmp_path / "a.jsonl"
    line = '{"code": "2026-01-02"}\n'
    path.write_text(line * (9_000_000 // len(line)) + '{"code": "x"}\n')
    assert JSONL().scan(File(path, "a.jsonl")).field("code").type == pa.string()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1}\n{"a": "x"}\n', r"row 2.*number to string"),
        ('{"a": 1}\n{"a": \n', "row 2"),
        ('[{"a": 1}]\n', "one object a line"),
    ],
)
def test_broken_json_is_a_data_error_with_its_row(tmp_path, text, message):
    (tmp_path / "a.jsonl").write_text(text)
    with pytest.raises(DataError, match=message):
        read(tmp_path / "a.jsonl")


def test_json_without_lines_is_not_read_without_end(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b'{"a": "' + b"x" * (72 << 20))
    with pytest.raises(DataError, match="a line is longer than 64 MiB"):
        JSONL().scan(File(tmp_path / "a.jsonl", "a.jsonl"))


@pytest.mark.parametrize("stream", [False, True])
def test_arrow_files_and_streams_with_sliced_and_dictionary_columns(tmp_path, stream):
    whole = pa.table(
        {
            "id": pa.array(range(1000), pa.uint64()),
            "city": pa.array(["x", "y", None, "z"] * 250).dictionary_encode(),
            "hist": pa.array([list(range(i % 5)) for i in range(1000)], pa.large_list(pa.int32())),
        }
    )
    part = whole.slice(333, 400)
    new = pa.ipc.new_stream if stream else pa.ipc.new_file
    with pa.OSFile(str(tmp_path / "a.arrow"), "wb") as file, new(file, part.schema) as writer:
        writer.write_table(part, max_chunksize=77)
    table = read(tmp_path / "a.arrow", ["hist", "city", "id"])
    assert table["hist"].to_pylist() == part["hist"].to_pylist()
    assert table["city"].to_pylist() == part["city"].to_pylist()
    assert table["id"].to_pylist() == part["id"].to_pylist()


def test_arrow_offsets_that_point_outside_are_a_data_error(tmp_path):
    path = tmp_path / "a.arrow"
    table = pa.table({"s": ["abcdefgh"] * 100})
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    data = path.read_bytes()
    offsets = np.arange(0, 808, 8, dtype=np.int32).tobytes()
    assert offsets in data
    path.write_bytes(data.replace(offsets, offsets[:-4] + np.int32(2**30).tobytes()))
    with pytest.raises(DataError, match=r"a\.arrow"):
        read(path)


def test_what_is_no_arrow_file_is_a_data_error(tmp_path):
    (tmp_path / "a.arrow").write_bytes(b"not arrow at all" * 100)
    (tmp_path / "b.arrow").touch()
    with pytest.raises(DataError, match=r"a\.arrow: not an Arrow IPC file"):
        read(tmp_path / "a.arrow")
    with pytest.raises(NoInput, match=r"b\.arrow is empty"):
        read(tmp_path / "b.arrow")


@pytest.mark.parametrize("reader", [CSV(), JSONL(), Arrow()])
def test_rows_that_only_reading_could_count_are_not_counted(reader, tmp_path):
    assert reader.count_rows(File(tmp_path / "a", "a")) is None


def test_json_lines_may_begin_with_a_byte_order_mark(tmp_path):
    assert read(csv(tmp_path, b'\xef\xbb\xbf{"a": 1}\n{"a": 2}\n', "a.jsonl"))["a"].to_pylist() == [1, 2]


def test_known_types_hold_where_the_head_of_json_lines_tells_another(tmp_path):
    path = csv(tmp_path, '{"day": "2026-01-02", "tags": []}\n', "a.jsonl")
    types = {"day": pa.string(), "tags": pa.list_(pa.int64())}
    assert JSONL().scan(File(path, "a"), types).types == list(types.values())
    table = next(Source.open(["a.jsonl"], base=tmp_path, types=types).tables()).table
    assert table.to_pylist() == [{"day": "2026-01-02", "tags": []}]


def test_a_parquet_file_whose_columns_have_no_readable_names_is_damaged(tmp_path):
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"colour": [1, 2]}), path, store_schema=False)
    path.write_bytes(path.read_bytes().replace(b"colour", b"co\xffour"))
    with pytest.raises(DataError, match=r"x\.parquet: not a Parquet file, or damaged: 'utf-8'"):
        Source.open([str(path)], base=tmp_path).column_kinds()
