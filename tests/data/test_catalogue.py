from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from fake_rows import FakeRows, chunk, spec

from rechub_cli.data.catalogue import Catalogue, join_items
from rechub_cli.data.encoder import Encoder
from rechub_cli.data.source import Source
from rechub_cli.errors import DataError, NoInput, RunFailed

ID_ONLY = {"item": {"type": "sparse", "tower": "item"}}
WITH_KIND = {**ID_ONLY, "kind": {"type": "sparse", "tower": "item"}, "who": {"type": "sparse"}}
LOG = {"who": [1, 2, 1, 2, 3], "item": ["b", "a", "b", "c", "b"], "kind": ["x", "y", "z", "x", "y"]}


def encoder(features: Any = WITH_KIND, log: Any = LOG) -> Encoder:
    return Encoder.fit(spec(features, item="item"), FakeRows(log))


def ids_of(catalogue: Catalogue) -> list[Any]:
    return list(catalogue.ids.to_pylist())


def test_a_table_of_items_keeps_its_order_and_its_ids() -> None:
    catalogue = Catalogue.of(encoder(), "item", FakeRows({"item": ["c", "a", "b"], "kind": ["y", "x", "x"]}))
    assert ids_of(catalogue) == ["c", "a", "b"]
    assert catalogue.places(pa.array(["b", "nope", None, "c", "b"])).tolist() == [2, -1, -1, 0, 2]
    places = encoder().of_tower("item").encode(chunk({"item": ["c", "a", "b"], "kind": ["y", "x", "x"]}), labels=False)
    assert catalogue.batch.sparse.tolist() == places.rows.tolist()


def test_the_columns_of_users_are_no_columns_of_items() -> None:
    catalogue = Catalogue.of(encoder(), "item", FakeRows({"item": ["a"], "kind": ["x"]}))
    assert catalogue.table.column_names == ["item", "kind"]
    assert catalogue.batch.sparse.shape == (1, 2)


@pytest.mark.parametrize("chunk_rows", [1, 2, 100])
def test_the_items_of_a_log_have_the_columns_of_their_last_row(chunk_rows: int) -> None:
    log = {**LOG, "item": ["b", "a", None, "c", "b"]}
    catalogue = Catalogue.of_log(encoder(), "item", FakeRows(log, chunk_rows))
    assert catalogue.table.to_pydict() == {"item": ["a", "b", "c"], "kind": ["y", "y", "x"]}


@pytest.mark.parametrize(
    "ids",
    [
        pa.array([7, 3, 5], pa.int8()),
        pa.array([7, 3, 2**63 + 1], pa.uint64()),
        pa.array(["x", "y", "z"]).dictionary_encode(),
        pa.array(["x", "y", ""], pa.large_string()),
        pa.array([True, False]),
    ],
)
def test_ids_of_any_type_come_back_as_they_were(ids: pa.Array) -> None:
    catalogue = Catalogue.of_log(encoder(ID_ONLY, pa.table({"item": ids})), "item", FakeRows(pa.table({"item": ids})))
    plain = ids.cast(ids.type.value_type) if pa.types.is_dictionary(ids.type) else ids
    assert sorted(ids_of(catalogue)) == sorted(plain.to_pylist())
    assert catalogue.ids.type == plain.type
    assert catalogue.places(catalogue.ids).tolist() == list(range(len(ids)))
    assert [ids_of(catalogue)[place] for place in catalogue.places(ids)] == ids.to_pylist()


def test_whole_numbers_that_came_as_floats_are_integers_again() -> None:
    log = {"item": [2.0, None, 1.0]}
    catalogue = Catalogue.of_log(encoder(ID_ONLY, log), "item", FakeRows(log))
    assert ids_of(catalogue) == [1, 2]
    assert catalogue.ids.type == pa.int64()
    assert catalogue.places(pa.array([2, 1, 3], pa.int16())).tolist() == [1, 0, -1]


def test_an_item_that_the_model_knows_nothing_of_is_no_candidate() -> None:
    catalogue = Catalogue.of(encoder(ID_ONLY), "item", FakeRows({"item": ["new", "a", "other", "b"]}))
    assert ids_of(catalogue) == ["a", "b"]
    assert catalogue.left_out == 2
    assert catalogue.places(pa.array(["new", "b"])).tolist() == [-1, 1]


def test_a_new_item_with_a_known_column_is_a_candidate() -> None:
    rows = FakeRows({"item": ["new", "newer", "a"], "kind": ["x", "never", None]})
    catalogue = Catalogue.of(encoder(), "item", rows)
    assert ids_of(catalogue) == ["new", "a"]


def test_a_number_makes_a_new_item_known() -> None:
    features = {**ID_ONLY, "price": {"type": "dense", "tower": "item"}}
    fitted = encoder(features, {"item": ["a", "b"], "price": [1.0, 2.0]})
    assert len(Catalogue.of(fitted, "item", FakeRows({"item": ["new"], "price": [3.0]}))) == 1


def test_words_of_a_new_item_make_it_known() -> None:
    features = {**ID_ONLY, "words": {"type": "sequence", "tower": "item"}}
    fitted = encoder(features, {"item": ["a"], "words": ["red|blue"]})
    rows = FakeRows({"item": ["n1", "n2", "n3"], "words": ["green", "green|red", None]})
    catalogue = Catalogue.of(fitted, "item", rows)
    assert ids_of(catalogue) == ["n2"]
    assert catalogue.batch.sequences["words"].lengths.tolist() == [2]


def test_a_catalogue_without_a_known_item_is_refused() -> None:
    with pytest.raises(NoInput, match=r"today.csv: the model knows none of the 2 items"):
        Catalogue.of(encoder(ID_ONLY), "item", FakeRows({"item": ["n", "m"]}, file="today.csv"))


def test_an_item_that_stands_twice_is_refused_with_its_row() -> None:
    rows = FakeRows({"item": ["a", "b", "c", "a"]}, chunk_rows=2, file="items.csv")
    with pytest.raises(DataError, match=r"items.csv, row 4: item a is there more than once; keep one row"):
        Catalogue.of(encoder(ID_ONLY), "item", rows)


def test_an_item_without_an_id_is_refused_with_its_row() -> None:
    with pytest.raises(DataError, match=r"items.csv, row 2: item is None; every item needs an id"):
        Catalogue.of(encoder(ID_ONLY), "item", FakeRows({"item": ["a", None]}, file="items.csv"))


def test_a_table_of_items_that_lacks_a_column_is_refused() -> None:
    with pytest.raises(DataError, match=r"lacks the column kind, which an item's vector needs; columns there: item"):
        Catalogue.of(encoder(), "item", FakeRows({"item": ["a"]}))


def test_an_empty_table_of_items_is_refused() -> None:
    with pytest.raises(NoInput, match="no rows"):
        Catalogue.of(encoder(ID_ONLY), "item", FakeRows({"item": pa.array([], pa.string())}))


def test_todays_items_keep_the_counts_of_training() -> None:
    trained = Catalogue.of_log(encoder(), "item", FakeRows(LOG)).counted(torch.tensor([1, 3, 1]))
    today = Catalogue.of(encoder(), "item", FakeRows({"item": ["new", "b"], "kind": ["x", "x"]}), known=trained)
    assert today.counts.tolist() == [0, 3]


def test_a_kept_catalogue_is_the_same(tmp_path: Path) -> None:
    fitted = encoder()
    catalogue = Catalogue.of_log(fitted, "item", FakeRows(LOG)).counted(torch.tensor([1, 3, 1]))
    catalogue.save(tmp_path / "catalogue.parquet")
    loaded = Catalogue.load(tmp_path / "catalogue.parquet", fitted, "item")
    assert loaded.table.equals(catalogue.table)
    assert torch.equal(loaded.batch.sparse, catalogue.batch.sparse)
    assert loaded.counts.tolist() == [1, 3, 1]
    assert loaded.hash == catalogue.hash


def test_a_damaged_catalogue_is_refused(tmp_path: Path) -> None:
    (tmp_path / "catalogue.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(RunFailed, match=r"catalogue.parquet is damaged"):
        Catalogue.load(tmp_path / "catalogue.parquet", encoder(), "item")


def test_a_kept_catalogue_with_an_item_twice_is_refused(tmp_path: Path) -> None:
    table = pa.table({"item": ["a", "a"], "rechub.count": [1, 1]})
    pq.write_table(table, tmp_path / "catalogue.parquet")
    with pytest.raises(RunFailed, match="an item stands twice"):
        Catalogue.load(tmp_path / "catalogue.parquet", encoder(ID_ONLY), "item")


def test_the_catalogue_of_another_run_is_refused(tmp_path: Path) -> None:
    Catalogue.of_log(encoder(ID_ONLY), "item", FakeRows(LOG)).save(tmp_path / "catalogue.parquet")
    other = encoder(ID_ONLY, {"item": ["a"]})
    with pytest.raises(RunFailed, match="not of this run's encoder"):
        Catalogue.load(tmp_path / "catalogue.parquet", other, "item")


def test_a_log_gets_the_columns_of_its_items_and_keeps_its_own(tmp_path: Path) -> None:
    pq.write_table(pa.table({"item": [1, 2, 3], "kind": ["log", "log", "log"]}), tmp_path / "log.parquet")
    (tmp_path / "items.csv").write_text("item,kind,brand\n2,file,B\n1,file,A\n")
    log = Source.open(["log.parquet"], base=tmp_path)
    joined = join_items(log, Source.open(["items.csv"], base=tmp_path), "item")
    table = pa.concat_tables([part.table for part in joined.tables(["item", "kind", "brand"])])
    assert table.to_pydict() == {"item": [1, 2, 3], "kind": ["log"] * 3, "brand": ["A", "B", None]}
    assert joined.column_kinds() == {"item": "integer", "kind": "string", "brand": "string"}
    assert joined.fingerprint() != log.fingerprint()


def test_many_items_are_encoded_piece_by_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rechub_cli.data.catalogue.CHUNK_ROWS", 4)
    log = {"item": np.arange(50), "who": np.arange(50), "kind": np.arange(50) % 5}
    catalogue = Catalogue.of_log(encoder(log=log), "item", FakeRows(log, chunk_rows=7))
    whole = encoder(log=log).of_tower("item").encode(chunk(log), labels=False)
    assert catalogue.batch.sparse.tolist() == whole.rows.tolist()
