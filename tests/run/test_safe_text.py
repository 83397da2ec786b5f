import json

import pytest

from rechub_cli.run import Event, Events, Run
from rechub_cli.run.safe_text import printable, redacted, redacted_copy, redacted_data


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("s3://me:hunter2@bucket/x.parquet is no file", "s3://***@bucket/x.parquet is no file"),
        ("https://hunter2@host/x", "https://***@host/x"),
        ("https://h/x?X-Amz-Signature=hunter2&X-Amz-Date=1&sig=hunter2", "https://h/x?X-Amz-Signature=***&X-Amz-Date=1&sig=***"),
        ("https://h/x?sv=1&se=2&sig=hun%2Fter2%3D gone", "https://h/x?sv=1&se=2&sig=*** gone"),
        ("--set model.params.api_key=hunter2: no", "--set model.params.api_key=*** no"),
        ("rechub x --password hunter2 -q", "rechub x --password *** -q"),
        ("  6 |   password: hunter2", "  6 |   password: ***"),
        ('{"token": "hunter2", "n": 1}', '{"token": ***, "n": 1}'),
        ("Authorization: Bearer hunter2hunter2", "Authorization: Bearer ***"),
        ("key AKIAABCDEFGHIJKLMNOP is gone", "key *** is gone"),
    ],
)  # fmt: skip
def test_what_looks_like_a_secret_is_hidden(text, shown):
    assert redacted(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "features.token: column 'token' is not in train.parquet",
        "  7 |   token: {type: sparse}",
        "max_token_len=3 tokens=4 item_key=7 monkey=2",
        "user@example.com wrote",
        "epoch 1/3 train_loss 0.4821 val_auc 0.7712",
        "http://host:8080/path?n=1",
    ],
)
def test_what_only_sounds_like_one_stays(text):
    assert redacted(text) == text


def test_values_of_the_environment_are_hidden_wherever_they_stand(monkeypatch):
    monkeypatch.setenv("MY_DB_PASSWORD", "correct horse")
    assert redacted("cannot log in with correct horse") == "cannot log in with ***"


def test_the_folders_of_the_shell_are_no_passwords(monkeypatch):
    for name in ("PWD", "OLDPWD"):
        monkeypatch.setenv(name, f"/data/{name.lower()}")
    monkeypatch.setenv("DB_PWD", "/data/dbpwd")
    assert redacted("/data/pwd/x and /data/oldpwd/x, not /data/dbpwd") == "/data/pwd/x and /data/oldpwd/x, not ***"


def test_data_hides_texts_under_telling_keys_but_not_what_columns_are_called():
    spec = {
        "features": {"token": {"type": "history", "where": {"key": "a"}}},
        "user": "token",
        "data": {"filter": "key==3"},
        "model": {"params": {"api_key": "hunter2", "token": 16}},
    }
    found = redacted_data({"spec": spec, "argv": ["rechub", "--token", "hunter2", "-s", "a.secret=hunter 2"]})
    assert found["argv"] == ["rechub", "--token", "***", "-s", "a.secret=***"]
    assert found["spec"].pop("model") == {"params": {"api_key": "***", "token": 16}}
    assert found["spec"] == {name: spec[name] for name in ("features", "user", "data")}
    assert redacted_copy("api_key: hunter2\nwhere: {key: a}\n", spec) == "api_key: ***\nwhere: {key: a}\n"


def test_no_secret_passes_the_door_of_events_or_of_the_record_of_a_run(tmp_path):
    seen = []
    events = Events(type("Kept", (), {"event": lambda self, event: seen.append(event), "tick": None})())
    events.emit("warning", "s3://me:hunter2@b", {"path": "s3://me:hunter2@b", "more": ["token=hunter2"]}, level="warn")
    run = Run.create(str(tmp_path / "run"), "lr", argv=("rechub", "x"))
    run.update(password="hunter2", error={"message": "https://me:hunter2@h"})
    run.close()
    said = seen[0].to_json() + seen[0].to_text() + (tmp_path / "run" / "run.json").read_text()
    assert "hunter2" not in said
    assert said.count("***") == 6


def test_nothing_that_a_terminal_obeys_is_in_a_line_of_a_log():
    nasty = "a\x1b[2J\x1b]0;title\x07\x9b31m\u202eb\r\nc"
    event = Event("data.warning", nasty, "warn", {nasty: nasty})
    for line in (event.to_text(), event.to_json()):
        assert line.isprintable()
    assert json.loads(event.to_json())["data"] == {nasty: nasty}
    assert printable("a\tb\nc é 日本") == "a\tb\nc é 日本"
