"""A fingerprint changes when the rows do: what was encoded before is not used again."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rechub_cli.data.source import Source
from rechub_cli.spec.model import Join


def write(path, columns, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, **options)


def test_the_fingerprint_changes_with_content_filter_and_join_and_not_by_itself(tmp_path):
    write(tmp_path / "a.parquet", {"x": [1, 2], "k": [1, 2]})
    write(tmp_path / "u.parquet", {"k": [1, 2], "age": [10, 20]})
    (tmp_path / "t.csv").write_text("x\n1\n2\n")

    def fingerprint(name="a.parquet", **options):
        return Source.open([name], base=tmp_path, **options).fingerprint()

    joined = {"joins": [Join(file="u.parquet", on="k")]}
    first = [fingerprint(), fingerprint("t.csv"), fingerprint(filter="x == 1"), fingerprint(**joined)]
    assert len(set(first)) == 4
    assert [fingerprint(), fingerprint("t.csv"), fingerprint(filter="x == 1"), fingerprint(**joined)] == first
    write(tmp_path / "u.parquet", {"k": [1, 2], "age": [10, 21]})
    write(tmp_path / "a.parquet", {"x": [1, 3], "k": [1, 2]})
    (tmp_path / "t.csv").write_text("x\n1\n3\n")
    assert not set(first) & {fingerprint(), fingerprint("t.csv"), fingerprint(**joined)}


def test_a_parquet_file_rewritten_with_the_same_size_and_footer_has_another_fingerprint(tmp_path):
    labels = np.arange(200_000) % 2
    plain = {"use_dictionary": False, "compression": "none"}
    write(tmp_path / "a.parquet", {"y": labels}, **plain)
    source, size = Source.open(["a.parquet"], base=tmp_path), (tmp_path / "a.parquet").stat().st_size
    before = source.fingerprint()
    labels[[2000, 2001]] = labels[[2001, 2000]]
    write(tmp_path / "a.parquet", {"y": labels}, **plain)
    assert (tmp_path / "a.parquet").stat().st_size == size
    assert source.fingerprint() != before


def test_one_file_read_as_another_format_has_another_fingerprint(tmp_path):
    (tmp_path / "a.txt").write_text("x\n1\n")
    assert len({Source.open(["a.txt"], base=tmp_path, format=name).fingerprint() for name in ("csv", "tsv")}) == 2
