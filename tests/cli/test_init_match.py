"""What init --task match makes of a log: the spec says what a person would, and trains."""

import csv
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rechub_cli.errors import UsageError
from rechub_cli.run.events import Events
from rechub_cli.run.signals import Stop
from rechub_cli.spec.read import read_spec
from rechub_cli.workflows.init import run
from rechub_cli.workflows.request import TrainRequest
from rechub_cli.workflows.train_match import train_match

USERS, ITEMS, EACH = 40, 30, 12


def log(**more):
    """Every user has 12 different items of 30, one after the other."""
    rng = np.random.default_rng(7)
    user = np.repeat(np.arange(USERS), EACH)
    item = np.concatenate([rng.permutation(ITEMS)[:EACH] for _ in range(USERS)])
    time = 1_700_000_000 + 1000 * np.tile(np.arange(EACH), USERS) + user
    return {"user_id": user, "item_id": item, "ts": time, **more}


def items():
    return {"item_id": np.arange(ITEMS), "genre": [f"genre {at % 4}" for at in range(ITEMS)],
            "title": [f"The {at}" for at in range(ITEMS)], "price": np.linspace(1, 9, ITEMS) ** 2 + 0.5}  # fmt: skip


@pytest.fixture
def first_spec(tmp_path, monkeypatch):
    """Columns of files -> the spec that init writes for the log, read back."""
    monkeypatch.chdir(tmp_path)

    def spec(label=None, **files):
        for name, columns in files.items():
            pq.write_table(pa.table(columns), f"{name}.parquet")
        Path("spec.yaml").write_text(run([f"{next(iter(files))}.parquet"], task="match", label=label))
        return read_spec("spec.yaml").spec

    return spec


def trained(**changes):
    overrides = tuple(f"{key}={json.dumps(value)}" for key, value in changes.items())
    request = TrainRequest(spec="spec.yaml", output="run", overrides=("trainer.device=cpu", *overrides))
    return train_match(request, Events(), Stop())


def test_a_log_and_its_items_make_two_towers_that_train(first_spec):
    spec = first_spec(
        log=log(city=np.repeat(np.arange(USERS) % 5, EACH), place=np.arange(USERS * EACH) % 7), items=items()
    )
    assert (spec.user, spec.item, spec.time, spec.data.items) == ("user_id", "item_id", "ts", ["items.parquet"])
    towers = {name: getattr(feature, "tower", None) for name, feature in spec.features.items()}
    assert towers == {
        "past": None, "latest": None, "user_id": None, "city": None, "item_id": "item", "genre": "item", "price": "item"
    }  # fmt: skip
    assert spec.features["past"].of == ["item_id", "genre"]
    assert spec.trainer.exclude_seen
    assert spec.data.split.method == "time"
    text = Path("spec.yaml").read_text()
    assert "# title:" in text
    assert "# place:" in text
    assert trained(**{"trainer.n_epoch": 1}).best


def test_items_that_come_again_are_not_left_out(first_spec):
    again = log()
    again["item_id"] = again["item_id"] % 5
    assert not first_spec(log=again).trainer.exclude_seen
    assert "it may be a hit again" in Path("spec.yaml").read_text()


def test_a_click_says_which_items_were_chosen_and_a_rating_waits_as_a_comment(first_spec):
    clicked = np.arange(USERS * EACH) % 2
    spec = first_spec(log=log(click=clicked))
    assert list(spec.labels) == ["click"]
    assert spec.features["past"].where == {"click": 1}
    stars = np.arange(USERS * EACH) % 5 + 1
    assert first_spec(log=log(rating=stars)).labels == {}
    assert '# labels: {rating: {positive: ">= 4"}}' in Path("spec.yaml").read_text()
    assert list(first_spec("rating", log=log(rating=stars)).labels) == ["rating"]


def test_without_times_there_are_no_histories_and_it_trains(first_spec):
    columns = log()
    del columns["ts"]
    spec = first_spec(log=columns)
    assert list(spec.features) == ["user_id", "item_id"]
    assert spec.data.split.method == "random"
    trained(**{"trainer.n_epoch": 1})


def test_the_items_are_the_file_that_is_named_so_or_has_a_row_for_each(first_spec):
    links = {"item_id": np.arange(ITEMS), "imdb": np.arange(ITEMS) + 9}
    tags = {"item_id": np.arange(ITEMS * 2) % ITEMS, "tag": np.arange(ITEMS * 2)}
    assert first_spec(log=log(), tags=tags).data.items is None
    assert first_spec(log=log(), tags=tags, extra=links).data.items == ["extra.parquet"]
    wide = {**links, "a": np.arange(ITEMS), "b": np.arange(ITEMS), "c": np.arange(ITEMS), "d": np.arange(ITEMS)}
    assert first_spec(log=log(), tags=tags, extra=wide, items=items()).data.items == ["items.parquet"]


def test_films_and_their_ratings_train_at_once(tmp_path, here):
    columns = log()
    with open(tmp_path / "ratings.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["userId", "movieId", "rating", "timestamp"])
        rows.writerows(
            zip(*(columns["user_id"], columns["item_id"], columns["ts"] % 9 / 2 + 0.5, columns["ts"]), strict=True)
        )
    with open(tmp_path / "movies.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["movieId", "title", "genres"])
        rows.writerows([at, f"Film {at} (1999)", f"{'ABCDEF'[at % 6]}|{'UVWXY'[at // 6]}"] for at in range(ITEMS))
    ended = here("init", "ratings.csv", "--task", "match", "-o", "first.yaml", cwd=tmp_path)
    assert (ended.code, ended.out) == (0, "first.yaml\n")
    spec = read_spec(tmp_path / "first.yaml").spec
    assert (spec.user, spec.item, spec.time, spec.data.items) == ("userId", "movieId", "timestamp", ["movies.csv"])
    assert (spec.features["genres"].type, spec.features["genres"].tower) == ("sequence", "item")
    ended = here("train-match", "first.yaml", "-o", "run", "--set", "trainer.n_epoch=1", "-q", cwd=tmp_path)
    assert (ended.code, ended.err) == (0, "")


def test_names_that_begin_with_a_dot_are_names(first_spec):
    columns = log(city=np.repeat(np.arange(USERS) % 5, EACH))
    spec = first_spec(log={f".{name}": values for name, values in columns.items()})
    assert (spec.user, spec.item, spec.time) == (".user_id", ".item_id", ".ts")
    assert ".city" in spec.features


def test_a_log_without_users_or_items_is_told_so(first_spec):
    columns = log()
    with pytest.raises(UsageError, match="which column is the item"):
        first_spec(log={"user_id": columns["user_id"], "x": columns["item_id"]})
    with pytest.raises(UsageError, match="which column is the user"):
        first_spec(log={"item_id": columns["item_id"], "x": columns["user_id"]})
    with pytest.raises(UsageError, match="no column 'stars'"):
        first_spec("stars", log=columns)
