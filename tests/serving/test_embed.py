"""``rechub embed``: whose vectors, in which file, and what stands beside it."""

import json
import math

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.json as pajson
import pyarrow.parquet as pq
import pytest
from planted import ITEMS, LOG, USERS, item

import rechub_cli
from rechub_cli.data.vector_files import read_vectors
from rechub_cli.errors import CannotCreate, DataError, UsageError
from rechub_cli.run.events import Events
from rechub_cli.run.signals import Stop
from rechub_cli.workflows.embed import EmbedRequest, embed


class Told(Events):
    """Keeps what is said."""

    def __init__(self):
        super().__init__()
        self.messages = []

    def emit(self, event, msg="", data=None, level="info"):
        self.messages.append(msg)


def export(run, mode, output, events=None, stdout=None, **more):
    return embed(EmbedRequest(str(run), mode, str(output), **more), events or Events(), Stop(), stdout)


def matrix(column):
    return np.array(column.to_pylist(), np.float32)


def manifest(path):
    return json.loads((path.parent / f"{path.name}.manifest.json").read_text())


@pytest.fixture(scope="module")
def vectors(run_of, tmp_path_factory):
    """The items' vectors of dssm in Parquet."""
    path = tmp_path_factory.mktemp("vectors") / "items.parquet"
    export(run_of("dssm"), "item", path)
    return path


def test_items_stand_in_the_order_of_the_catalogue_with_lists_of_fixed_size(vectors, run_of):
    table = pq.read_table(vectors)
    assert table.column_names == ["item_id", "embedding"]
    assert table.schema.field("embedding").type == pa.list_(pa.float32(), 8)
    assert table.column("item_id").to_pylist() == ITEMS.column("item_id").to_pylist()
    trained = rechub_cli.load(run_of("dssm"))
    own = trained.model.embed_items(trained.catalogue.batch).detach().numpy()
    np.testing.assert_array_equal(matrix(table.column("embedding")), own)


def test_the_manifest_says_how_to_compare_them(vectors, run_of):
    facts = manifest(vectors)
    assert {name: facts[name] for name in ("mode", "model", "metric", "normalized", "temperature", "dim", "rows")} == {
        "mode": "item",
        "model": "dssm",
        "metric": "ip",
        "normalized": True,
        "temperature": 0.05,
        "dim": 8,
        "rows": 40,
    }
    assert [file["name"] for file in facts["files"]] == ["items.parquet"]
    other = rechub_cli.load(run_of("interests"))
    assert facts["encoder"] != other.encoder.hash
    assert facts["data_until"] == str(max(LOG.column("time").to_pylist()))


def test_the_same_again_is_the_same_bytes(vectors, run_of, tmp_path):
    again = tmp_path / "items.parquet"
    export(run_of("dssm"), "item", again, batch_size=64)
    assert again.read_bytes() == vectors.read_bytes()
    assert manifest(again) == manifest(vectors)


@pytest.mark.parametrize("name", ["items.arrow", "items.csv", "items.jsonl", "items.npy", "items"])
def test_every_format_holds_the_same(vectors, run_of, tmp_path, name):
    path = tmp_path / name
    export(run_of("dssm"), "item", path, shard_rows=None if path.suffix else 15)
    expected = pq.read_table(vectors)
    if name.endswith("csv"):
        table = pacsv.read_csv(path)
        ids, found = table.column("item_id"), [text.split("|") for text in table.column("embedding").to_pylist()]
    elif name.endswith("jsonl"):
        table = pajson.read_json(path)
        ids, found = table.column("item_id"), table.column("embedding").to_pylist()
    else:
        ids, found = read_vectors(path, "item_id")
    assert ids.to_pylist() == expected.column("item_id").to_pylist()
    np.testing.assert_array_equal(np.array(found).astype(np.float32), matrix(expected.column("embedding")))


def test_shards_have_the_rows_that_were_asked_for(run_of, tmp_path):
    export(run_of("dssm"), "item", tmp_path / "items", shard_rows=15)
    parts = sorted((tmp_path / "items").iterdir())
    assert [(part.name, pq.read_metadata(part).num_rows) for part in parts] == [
        ("part-00000.parquet", 15),
        ("part-00001.parquet", 15),
        ("part-00002.parquet", 10),
    ]
    assert [file["rows"] for file in manifest(tmp_path / "items")["files"]] == [15, 15, 10]
    with pytest.raises(CannotCreate, match="exists"):
        export(run_of("dssm"), "item", tmp_path / "items", shard_rows=20)
    export(run_of("dssm"), "item", tmp_path / "items", shard_rows=20, overwrite=True)
    assert len(list((tmp_path / "items").iterdir())) == 2


def test_an_item_is_known_by_any_of_its_columns(run_of, tmp_path):
    rows = pa.table({"item_id": ["new", "i03", "nothing"], "colour": ["green", "red", "violet"]})
    pq.write_table(rows, tmp_path / "today.parquet")
    told = Told()
    export(run_of("dssm"), "item", tmp_path / "v.parquet", told, data=str(tmp_path / "today.parquet"))
    assert pq.read_table(tmp_path / "v.parquet").column("item_id").to_pylist() == ["new", "i03"]
    assert "1 items have no value that training ever had: they are left out" in told.messages


def test_an_item_is_a_function_of_its_row_alone(vectors, run_of, tmp_path):
    shuffled = ITEMS.take(pa.array([7, 3, 30]))
    pq.write_table(shuffled, tmp_path / "today.parquet")
    export(run_of("dssm"), "item", tmp_path / "v.parquet", data=str(tmp_path / "today.parquet"))
    found, expected = pq.read_table(tmp_path / "v.parquet"), pq.read_table(vectors).take(pa.array([7, 3, 30]))
    assert found.column("item_id").equals(expected.column("item_id"))
    # the last bit may differ: a processor's matrix product depends on how many rows it is given
    assert np.allclose(*(np.stack(table.column("embedding").to_numpy()) for table in (found, expected)), atol=1e-6)


def test_users_follow_their_history_and_a_newer_one(run_of, data, tmp_path):
    path = tmp_path / "users.parquet"
    export(run_of("dssm"), "user", path, data=str(data / "users.parquet"))
    table = pq.read_table(path)
    assert table.column("user_id").type == pa.int32()
    assert table.column("user_id").to_pylist() == list(range(120))
    pq.write_table(
        pa.table({"user_id": pa.array([1], pa.int32()), "item_id": ["i04"], "time": [10**9]}), tmp_path / "new.parquet"
    )
    newer = (str(tmp_path / "new.parquet"),)
    export(run_of("dssm"), "user", path, data=str(data / "users.parquet"), history=newer, overwrite=True)
    changed = (matrix(pq.read_table(path).column("embedding")) != matrix(table.column("embedding"))).any(axis=1)
    assert np.flatnonzero(changed).tolist() == [1]


def test_a_user_of_several_interests_has_a_row_for_each(run_of, data, tmp_path):
    export(run_of("interests"), "user", tmp_path / "v.parquet", data=str(data / "users.parquet"))
    table = pq.read_table(tmp_path / "v.parquet")
    assert table.schema.field("interest").type == pa.int8()
    assert table.column("user_id").to_pylist()[:4] == [0, 0, 0, 1]
    assert table.column("interest").to_pylist()[:4] == [0, 1, 2, 0]
    facts = manifest(tmp_path / "v.parquet")
    assert (facts["interests"], facts["rows"]) == (3, 360)


def test_interests_that_a_user_does_not_use_have_no_row(run_of, data, tmp_path):
    users = pa.table({"user_id": pa.array([*range(120), 999], pa.int32())})
    pq.write_table(users, tmp_path / "users.parquet")
    export(run_of("adaptive"), "user", tmp_path / "v.parquet", data=str(tmp_path / "users.parquet"))
    table = pq.read_table(tmp_path / "v.parquet")
    rows = np.bincount(table.column("user_id").to_numpy(), minlength=1000)
    events = np.bincount(LOG.column("user_id").to_numpy(), minlength=120)
    assert rows[:120].tolist() == [max(1, min(4, int(math.log2(n)))) for n in events.tolist()]
    assert rows[999] == 1  # a user without a past has one
    assert matrix(table.column("embedding"))[:-1].any(axis=1).all()


def test_two_exports_of_users_are_identical(run_of, data, tmp_path):
    for name in ("a", "b"):
        export(run_of("interests"), "user", tmp_path / f"{name}.npy", data=str(data / "users.parquet"))
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()
    assert np.load(tmp_path / "a.npy").shape == (360, 8)
    assert pq.read_table(tmp_path / "a.ids.parquet").column_names == ["user_id", "interest"]


def test_python_gives_what_the_command_writes(vectors, run_of, data, tmp_path):
    trained = rechub_cli.load(run_of("dssm"))
    assert trained.embed(mode="item").equals(pq.read_table(vectors))
    export(run_of("dssm"), "user", tmp_path / "u.parquet", data=str(data / "users.parquet"))
    assert trained.embed(USERS, mode="user").combine_chunks().equals(pq.read_table(tmp_path / "u.parquet"))


def test_no_rows_give_a_table_with_its_columns(run_of, tmp_path):
    pq.write_table(USERS.slice(0, 0), tmp_path / "users.parquet")
    export(run_of("dssm"), "user", tmp_path / "v.parquet", data=str(tmp_path / "users.parquet"))
    table = pq.read_table(tmp_path / "v.parquet")
    assert (table.num_rows, table.column_names) == (0, ["user_id", "embedding"])


def test_mistakes_are_named(run_of, data, tmp_path):
    run, out = run_of("dssm"), tmp_path / "v.parquet"
    users = str(data / "users.parquet")
    for wanted, arguments in {
        "--mode is required": (None, out, {}),
        "--mode is 'items'": ("items", out, {}),
        "--data is required": ("user", out, {}),
        "an index is of items": ("user", tmp_path / "v.faiss", {"data": users}),
        "--history is for --mode user": ("item", out, {"history": ("x",)}),
        "--index-type is for an index file": ("item", out, {"index_type": "hnsw"}),
        "FAISS knows no such index": ("item", tmp_path / "v.faiss", {"index_type": "hsnw"}),
        "-o must name one": ("item", out, {"shard_rows": 5}),
        "--shard-rows is 0": ("item", tmp_path / "v", {"shard_rows": 0}),
    }.items():
        mode, target, more = arguments
        with pytest.raises(UsageError, match=wanted):
            export(run, mode, target, **more)
    with pytest.raises(UsageError, match="popular counts, and has no vectors"):
        export(run_of("popular"), "item", out)
    with pytest.raises(DataError, match="lacks the columns item_id, colour"):
        export(run, "item", out, data=users)
    assert not list(tmp_path.iterdir())


def test_an_item_without_an_id_is_refused_and_the_old_file_stays(run_of, tmp_path):
    pq.write_table(pa.table({"item_id": ["i01", None], "colour": ["red", "red"]}), tmp_path / "items.parquet")
    (tmp_path / "v.parquet").write_text("old")
    with pytest.raises(DataError, match="1 rows have no item_id"):
        export(run_of("dssm"), "item", tmp_path / "v.parquet", data=str(tmp_path / "items.parquet"), overwrite=True)
    assert (tmp_path / "v.parquet").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["items.parquet", "v.parquet"]


def test_an_index_says_what_it_finds(run_of, tmp_path):
    told = Told()
    outcome = export(run_of("dssm"), "item", tmp_path / "v.faiss", told, index_type="hnsw")
    assert outcome.index["recall@40"] == 1
    assert outcome.index["ids"] == "row"  # ids are text: the table beside it has them
    assert pq.read_table(tmp_path / "v.ids.parquet").column("item_id").to_pylist() == [item(n) for n in range(40)]
    assert any("recall@40 1.0000 against exact search" in message for message in told.messages)
    told = Told()
    export(run_of("dssm"), "item", tmp_path / "poor.faiss", told, index_type="IVF20,Flat")
    assert any("below 0.98" in message for message in told.messages)
