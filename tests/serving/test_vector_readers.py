"""The programs that vectors are written for read them, and find the neighbours that ``recommend`` finds."""

import json
import re

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from planted import USERS

import rechub_cli
from rechub_cli.run.events import Events
from rechub_cli.run.signals import Stop
from rechub_cli.workflows.embed import EmbedRequest, embed

K = 5


@pytest.fixture(scope="module")
def written(run_of, data, tmp_path_factory):
    """A folder with the vectors of items and users in Parquet, and of items in other formats."""
    folder = tmp_path_factory.mktemp("vectors")
    users = str(data / "users.parquet")
    for mode, name in [
        ("item", "items.parquet"),
        ("user", "users.parquet"),
        ("item", "items.npy"),
        ("item", "items.faiss"),
    ]:
        source = users if mode == "user" else None
        embed(EmbedRequest(str(run_of("dssm")), mode, str(folder / name), source, overwrite=True), Events(), Stop())
    return folder


@pytest.fixture(scope="module")
def neighbours(run_of):
    """Each user's items as ``recommend`` finds them."""
    table = rechub_cli.load(run_of("dssm")).recommend(USERS, K)
    return np.array(table.column("item_id").to_pylist()).reshape(-1, K)


@pytest.fixture
def users(written):
    return np.stack(pd.read_parquet(written / "users.parquet")["embedding"].to_list())


def test_pandas(written, users, neighbours):
    items = pd.read_parquet(written / "items.parquet")
    scores = users @ np.stack(items["embedding"].to_list()).T
    best = np.argsort(-scores, axis=1, kind="stable")[:, :K]
    assert (items["item_id"].to_numpy()[best] == neighbours).all()


def test_numpy_and_a_table_of_ids(written, users, neighbours):
    ids = pd.read_parquet(written / "items.ids.parquet")["item_id"].to_numpy()
    best = np.argsort(-(users @ np.load(written / "items.npy").T), axis=1, kind="stable")[:, :K]
    assert (ids[best] == neighbours).all()


def test_faiss(written, users, neighbours):
    import faiss

    index = faiss.read_index(str(written / "items.faiss"))
    assert index.metric_type == faiss.METRIC_INNER_PRODUCT
    ids = pq.read_table(written / "items.ids.parquet").column("item_id").to_numpy()
    _, rows = index.search(users, K)
    assert (ids[rows] == neighbours).all()


def test_faiss_from_parquet(written, users, neighbours):
    import faiss

    items = pq.read_table(written / "items.parquet")
    index = faiss.IndexFlatIP(8)
    flat = items.column("embedding").combine_chunks().flatten().to_numpy(zero_copy_only=True)
    index.add(flat.reshape(-1, 8))
    assert (items.column("item_id").to_numpy()[index.search(users, K)[1]] == neighbours).all()


def test_usearch(written, users, neighbours):
    from usearch.index import Index

    items = pd.read_parquet(written / "items.parquet")
    index = Index(ndim=8, metric="ip", dtype="f32")
    index.add(np.arange(len(items)), np.stack(items["embedding"].to_list()))
    keys = index.search(users, K, exact=True).keys
    assert (items["item_id"].to_numpy()[keys.astype(np.int64)] == neighbours).all()


def test_duckdb(written, neighbours):
    import duckdb

    found = duckdb.sql(f"""
        select user_id, item_id,
               list_inner_product(u.embedding, i.embedding) as score
        from '{written / "users.parquet"}' u, '{written / "items.parquet"}' i
        qualify row_number() over (partition by user_id order by score desc) <= {K}
        order by user_id, score desc
    """).fetchnumpy()["item_id"]
    assert (np.array(found).reshape(-1, K) == neighbours).all()


def test_lancedb(written, users, neighbours, tmp_path):
    import lancedb

    table = lancedb.connect(tmp_path / "lance").create_table("items", pq.read_table(written / "items.parquet"))
    for user in range(0, len(users), 20):
        query = table.search(users[user], vector_column_name="embedding").distance_type("dot")
        assert query.limit(K).to_arrow().column("item_id").to_pylist() == neighbours[user].tolist()


def test_the_metric_is_in_the_manifest(written):
    facts = json.loads((written / "items.parquet.manifest.json").read_text())
    assert (facts["metric"], facts["normalized"]) == ("ip", True)
    assert re.fullmatch("[0-9a-f]{64}", facts["weights"])
