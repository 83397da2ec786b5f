"""``rechub recommend``: the best items of each user, from a catalogue, from vectors, from an index."""

import shutil
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from planted import ITEMS, LOG, USERS, had, item

import rechub_cli
from rechub_cli.errors import DataError, NoInput, UsageError
from rechub_cli.run.events import Events
from rechub_cli.run.signals import Stop
from rechub_cli.workflows.embed import EmbedRequest, embed
from rechub_cli.workflows.recommend import RecommendRequest, recommend
from rechub_cli.workflows.request import TrainRequest
from rechub_cli.workflows.train_match import train_match


@pytest.fixture
def recommended(run_of, data, tmp_path):
    """What the command writes for a run, as a table."""

    def run(name, users=data / "users.parquet", **more):
        path = tmp_path / "out.parquet"
        request = RecommendRequest(str(run_of(name)), str(users), str(path), overwrite=True, **more)
        recommend(request, Events(), Stop())
        return pq.read_table(path)

    return run


def export(run, path, **more):
    embed(EmbedRequest(str(run), "item", str(path), **more), Events(), Stop())
    return str(path)


def lists(table):
    """User -> items in their order."""
    found = {}
    for row in table.to_pylist():
        found.setdefault(row["user_id"], []).append(row["item_id"])
    return found


def above_ties(table):
    """User -> the set of items that score higher than the last one by more than rounding."""
    rows = table.to_pylist()
    least = {row["user_id"]: row["score"] + 1e-4 for row in rows}  # rows fall: the last one stays
    found = {user: set() for user in least}
    for row in rows:
        if row["score"] > least[row["user_id"]]:
            found[row["user_id"]].add(row["item_id"])
    return found


def write(path, **columns):
    pq.write_table(pa.table(columns), path)
    return str(path)


def test_rows_hold_user_rank_item_and_logit(recommended, run_of):
    table = recommended("dssm", k=7)
    assert [(field.name, str(field.type)) for field in table.schema] == [
        ("user_id", "int32"),
        ("rank", "int32"),
        ("item_id", "string"),
        ("score", "float"),
    ]
    assert table.column("rank").to_pylist() == list(range(1, 8)) * 120
    trained = rechub_cli.load(run_of("dssm"))
    users, items = (
        np.array(table.column("embedding").to_pylist(), np.float32)
        for table in (trained.embed(USERS, mode="user"), trained.embed(mode="item"))
    )
    scores = users @ items.T / 0.05
    best = np.argsort(-scores, axis=1, kind="stable")[:, :7]
    assert lists(table) == {user: [item(place) for place in row] for user, row in enumerate(best)}
    np.testing.assert_allclose(table.column("score").to_numpy(), np.take_along_axis(scores, best, 1).ravel(), rtol=1e-4)


def test_the_taste_of_the_log_is_learned(recommended):
    own = [int(one[1:]) % 2 == user % 2 for user, items in lists(recommended("dssm", k=5)).items() for one in items]
    assert np.mean(own) > 0.95


@pytest.mark.parametrize("name", ["dssm", "interests", "popular", "item_knn"])
def test_seen_items_are_left_out_on_request(recommended, name):
    kept = lists(recommended(name, k=10))
    assert any(set(items) & had(user) for user, items in kept.items())
    left = lists(recommended(name, k=40, exclude_seen=True))
    assert all(set(items) == set(ITEMS.column("item_id").to_pylist()) - had(user) for user, items in left.items())


def test_more_than_there_are_gives_all(recommended):
    assert all(len(set(items)) == len(items) == 40 for items in lists(recommended("dssm", k=500)).values())


def test_todays_items_take_the_place_of_the_catalogue(recommended, tmp_path):
    today = write(tmp_path / "today.parquet", item_id=["i07", "new", "unknown"], colour=["red", "green", "violet"])
    found = lists(recommended("dssm", k=5, items=today))
    assert found[1] == ["i07", "new"]  # by its colour, of which odd users have none
    assert found[0] == ["new", "i07"]


def test_a_model_that_counts_takes_those_of_todays_items_that_it_knows(recommended, tmp_path):
    today = write(tmp_path / "today.parquet", item_id=["i07", "new", "i02"])
    found = lists(recommended("item_knn", k=5, items=today, exclude_seen=True))
    assert {user: set(items) for user, items in found.items()} == {
        user: left for user in range(120) if (left := {"i07", "i02"} - had(user))
    }
    with pytest.raises(DataError, match="knows none of the items"):
        recommended("item_knn", items=write(tmp_path / "others.parquet", item_id=["new"]))


@pytest.mark.parametrize("name", ["dssm", "interests"])
@pytest.mark.parametrize("exclude_seen", [False, True])
def test_vectors_and_a_flat_index_give_the_same_as_the_catalogue(recommended, run_of, tmp_path, name, exclude_seen):
    wanted = recommended(name, k=8, exclude_seen=exclude_seen)
    for file in ("v.parquet", "v.npy", "v.arrow", "v"):
        path = export(run_of(name), tmp_path / file, shard_rows=None if "." in file else 11)
        assert recommended(name, k=8, exclude_seen=exclude_seen, embeddings=path).equals(wanted)
        for one in tmp_path.glob("v.*"):
            one.unlink()
    path = export(run_of(name), tmp_path / "v.faiss")
    found = recommended(name, k=8, exclude_seen=exclude_seen, index=path)
    np.testing.assert_allclose(found.column("score").to_numpy(), wanted.column("score").to_numpy(), rtol=1e-5)
    assert above_ties(found) == above_ties(wanted)


def test_an_index_of_whole_numbers_has_them_as_its_ids(run_of, data, tmp_path):
    import faiss

    numbers = pa.array([int(one[1:]) * 3 for one in LOG.column("item_id").to_pylist()])
    pq.write_table(LOG.set_column(1, "item_id", numbers), tmp_path / "log.parquet")
    spec = (data / "dssm.yaml").read_text().replace(", items: items.parquet", "").replace("n_epoch: 6", "n_epoch: 1")
    (tmp_path / "spec.yaml").write_text(spec.replace("  colour: {type: sparse}\n", ""))
    run = train_match(
        TrainRequest(spec=str(tmp_path / "spec.yaml"), output=str(tmp_path / "run")), Events(), Stop()
    ).run
    index = faiss.read_index(export(run, tmp_path / "v.faiss", index_type="hnsw"))
    assert not (tmp_path / "v.ids.parquet").exists()
    trained = rechub_cli.load(run)
    users = np.array(trained.embed(USERS, mode="user").column("embedding").to_pylist(), np.float32)
    _, ids = index.search(users, 5)
    wanted = trained.recommend(USERS, 5).column("item_id").to_numpy().reshape(-1, 5)
    assert ids.tolist() == wanted.tolist()


def test_vectors_of_another_model_are_refused(recommended, run_of, tmp_path):
    path = export(run_of("interests"), tmp_path / "v.parquet")
    with pytest.raises(UsageError, match="is of another model: run interests, comirec_sa"):
        recommended("dssm", embeddings=path)


@pytest.mark.parametrize("file", ["v.parquet", "v.npy", "v", "v.faiss"])
def test_new_vectors_beside_an_old_manifest_are_refused(recommended, run_of, tmp_path, file):
    """What a kill leaves between the vectors and their manifest, or between their ids and the vectors."""
    shard_rows = None if "." in file else 11
    path = export(run_of("interests"), tmp_path / file, shard_rows=shard_rows)
    manifest = tmp_path / f"{file}.manifest.json"
    old = manifest.read_bytes()
    export(run_of("dssm"), path, shard_rows=shard_rows, overwrite=True)
    manifest.write_bytes(old)
    how = "index" if file.endswith(".faiss") else "embeddings"
    for name in ("dssm", "interests"):
        with pytest.raises(DataError, match=r"is not the file that .*manifest\.json describes; embed again"):
            recommended(name, **{how: path})


def test_files_that_are_not_what_their_manifest_says_are_refused(recommended, run_of, data, tmp_path):
    path = export(run_of("dssm"), tmp_path / "v.npy")
    changed = np.load(path)
    changed[0] += 1
    np.save(path, changed)
    with pytest.raises(DataError, match="is not the file that"):
        recommended("dssm", embeddings=path)
    (tmp_path / "v.npy.manifest.json").unlink()
    with pytest.raises(NoInput, match="it tells which model the vectors are of"):
        recommended("dssm", embeddings=path)
    users = tmp_path / "u.parquet"
    embed(EmbedRequest(str(run_of("dssm")), "user", str(users), str(data / "users.parquet")), Events(), Stop())
    with pytest.raises(UsageError, match="holds vectors of users"):
        recommended("dssm", embeddings=str(users))


def test_a_new_user_is_known_by_a_history_alone(recommended, tmp_path):
    log = write(
        tmp_path / "today.parquet",
        user_id=pa.array([900, 900, 901], pa.int32()),
        item_id=["i02", "i04", "i01"],
        time=[10**6, 10**6 + 1, 10**6],
    )
    users = write(tmp_path / "users.parquet", user_id=pa.array([900, 901], pa.int32()))
    found = lists(recommended("dssm", users, k=5, history=(log,), exclude_seen=True))
    for user, seen in ((900, {"i02", "i04"}), (901, {"i01"})):
        assert np.mean([int(one[1:]) % 2 == user % 2 for one in found[user]]) > 0.7
        assert not seen & set(found[user])
    nobody = lists(recommended("dssm", users, k=5))
    assert nobody[900] == nobody[901]  # without it they are alike
    assert lists(recommended("item_knn", users, k=5, history=(log,)))[900] != nobody[900]


@pytest.mark.parametrize("name", ["dssm", "item_knn"])
def test_users_of_whom_nothing_is_known_are_told(run_of, data, tmp_path, name):
    told = []
    listener = SimpleNamespace(event=told.append, tick=lambda progress: None)
    users = write(tmp_path / "users.parquet", user_id=pa.array([3, 900, 901, 4], pa.int32()))
    request = RecommendRequest(str(run_of(name)), users, str(tmp_path / "out.parquet"), k=5)
    recommend(request, Events(listener), Stop())
    if name == "dssm":
        embed(EmbedRequest(request.run, "user", str(tmp_path / "v.parquet"), users), Events(listener), Stop())
    found = [event.data for event in told if "unknown_users" in event.data]
    assert found == [{"unknown_users": 2, "users": 4}] * (2 if name == "dssm" else 1)


def test_users_need_only_what_a_user_is_made_of(data, tmp_path):
    """Neither the columns of items, nor those of given negatives, nor look-up tables of items; ids stay text."""
    texts = pa.array([f"{user:04d}" for user in LOG.column("user_id").to_pylist()])
    shown = pa.array([["i00", "i01"]] * len(LOG))
    pq.write_table(LOG.set_column(0, "user_id", texts).append_column("shown", shown), tmp_path / "log.parquet")
    pq.write_table(ITEMS, tmp_path / "items.parquet")
    joins = "join: [{file: items.parquet, on: item_id}]"
    spec = (data / "dssm.yaml").read_text().replace("items: items.parquet", joins).replace("n_epoch: 6", "n_epoch: 1")
    spec = spec.replace("colour: {type: sparse}", "colour: {type: sparse, tower: item}")
    given = "  shown: {type: sequence, shares: item_id, role: negatives, pooling: none}\nuser:"
    (tmp_path / "spec.yaml").write_text(
        spec.replace("user:", given).replace("device: cpu", "device: cpu, negatives: given")
    )
    request = TrainRequest(spec=str(tmp_path / "spec.yaml"), output=str(tmp_path / "run"))
    run = train_match(request, Events(), Stop()).run
    (tmp_path / "users.csv").write_text("user_id\n0007\n0008\n")
    out = tmp_path / "out.parquet"
    recommend(
        RecommendRequest(str(run), str(tmp_path / "users.csv"), str(out), k=40, exclude_seen=True), Events(), Stop()
    )
    found = lists(pq.read_table(out))
    assert {user: 40 - len(items) for user, items in found.items()} == {"0007": len(had(7)), "0008": len(had(8))}


def test_python_gives_what_the_command_writes(recommended, run_of, tmp_path):
    trained = rechub_cli.load(run_of("dssm"))
    assert (
        trained.recommend(USERS, 6, exclude_seen=True)
        .combine_chunks()
        .equals(recommended("dssm", k=6, exclude_seen=True).combine_chunks())
    )
    newer = pa.table({"user_id": pa.array([1], pa.int32()), "item_id": ["i04"], "time": [10**6]})
    pq.write_table(newer, tmp_path / "newer.parquet")
    pq.write_table(ITEMS.slice(0, 9), tmp_path / "i.parquet")
    wanted = recommended("dssm", k=3, history=(str(tmp_path / "newer.parquet"),), items=str(tmp_path / "i.parquet"))
    given = trained.recommend(USERS.to_pandas(), 3, history=newer, items=ITEMS.slice(0, 9))
    assert lists(given) == lists(wanted)


def test_csv_streams_in_the_order_of_the_users(run_of, data, tmp_path):
    import io

    users = tmp_path / "users.csv"
    users.write_text("user_id\n3\n2\n3\n")
    stream = io.BytesIO()
    recommend(RecommendRequest(str(run_of("dssm")), str(users), "-", k=2), Events(), Stop(), stream)
    table = pacsv.read_csv(io.BytesIO(stream.getvalue()))
    assert table.column_names == ["user_id", "rank", "item_id", "score"]
    assert table.column("user_id").to_pylist() == [3, 3, 2, 2, 3, 3]


def test_no_users_give_a_table_with_its_columns(recommended, tmp_path):
    table = recommended("dssm", write(tmp_path / "none.parquet", user_id=pa.array([], pa.int32())))
    assert (table.num_rows, table.column_names) == (0, ["user_id", "rank", "item_id", "score"])


def test_mistakes_are_named(recommended, run_of, data, tmp_path):
    with pytest.raises(UsageError, match="--k is 0"):
        recommended("dssm", k=0)
    with pytest.raises(UsageError, match="--items and --index both say"):
        recommended("dssm", items="a", index="b")
    with pytest.raises(UsageError, match="popular counts, and has no vectors"):
        recommended("popular", index="v.faiss")
    with pytest.raises(DataError, match="lacks the column user_id"):
        recommended("dssm", data / "items.parquet")
    with pytest.raises(NoInput, match=r"v.faiss.manifest.json is missing"):
        recommended("dssm", index=str(tmp_path / "v.faiss"))
    shutil.copytree(run_of("dssm"), tmp_path / "run")
    (tmp_path / "run" / "interactions.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match="is damaged"):
        recommend(RecommendRequest(str(tmp_path / "run"), str(data / "users.parquet"), "-"), Events(), Stop())
