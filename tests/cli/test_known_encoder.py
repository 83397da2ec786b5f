"""A training on rows that another one has read for the same features does not read them for vocabularies again."""

import json
import shutil

import pytest


@pytest.fixture
def first(here, data, tmp_path):
    ended = here("train-ctr", data / "spec.yaml", "--epochs", "1", "-o", "runs/first", cwd=tmp_path)
    assert ended.code == 0, ended.err
    return tmp_path / "runs" / "first"


@pytest.fixture
def fits(monkeypatch):
    """The fits that are made from now on."""
    from rechub_cli.data.encoder import Encoder

    made, fit = [], Encoder.fit.__func__
    counted = classmethod(lambda cls, *args, **kwargs: made.append(1) or fit(cls, *args, **kwargs))
    monkeypatch.setattr(Encoder, "fit", counted)
    return made


def train(here, data, folder, *more):
    ended = here("train-ctr", data / "spec.yaml", "--epochs", "1", "-o", "runs/second", *more, cwd=folder)
    assert ended.code == 0, ended.err
    return folder / "runs" / "second"


def encoder_of(run):
    return {file.name: file.read_bytes() for file in (run / "encoder").iterdir()}


def kept(run):
    key = json.loads((run / "run.json").read_text())["cache"]["encoder"]
    return run.parent / ".cache" / key


def test_it_is_the_same_encoder(first, fits, here, data, tmp_path):
    second = train(here, data, tmp_path, "--set", "trainer.optimizer_params.lr=0.01")
    assert fits == []
    assert encoder_of(second) == encoder_of(first)
    assert kept(second) == kept(first)


@pytest.mark.parametrize("change", ["features.item_id.min_count=2", "features.price.transform=quantile"])
def test_other_features_are_fitted(change, first, fits, here, data, tmp_path):
    assert kept(train(here, data, tmp_path, "--set", change)) != kept(first)
    assert fits == [1]


def test_other_rows_are_fitted(first, fits, here, data, tmp_path):
    assert kept(train(here, data, tmp_path, "--limit-rows", "1000")) != kept(first)
    assert fits == [1]


@pytest.mark.parametrize("damage", ["encoder.json", "header.json"])
def test_what_is_damaged_is_fitted_again_and_then_known(damage, first, fits, here, data, tmp_path):
    before, file = encoder_of(first), kept(first) / damage
    file.unlink()
    if damage == "encoder.json":
        file.write_text("{}")
    assert encoder_of(train(here, data, tmp_path)) == before
    assert fits == [1]
    train(here, data, tmp_path, "--overwrite")
    assert fits == [1]


def test_the_run_that_fitted_it_may_go(first, fits, here, data, tmp_path):
    before = encoder_of(first)
    shutil.rmtree(first)
    assert encoder_of(train(here, data, tmp_path)) == before
    assert fits == []


def test_without_a_cache_nothing_is_kept(fits, here, data, tmp_path):
    for _ in range(2):
        run = train(here, data, tmp_path, "--set", "data.cache=off", "--overwrite")
    assert fits == [1, 1]
    assert not (run.parent / ".cache").exists()
