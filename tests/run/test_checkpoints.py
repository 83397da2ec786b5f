import json

import pytest
import torch
from torch import nn

from rechub_cli.errors import DataError, NoInput
from rechub_cli.run import Checkpoints, read_checkpoint


def layer(value: float) -> nn.Linear:
    made = nn.Linear(2, 1)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.fill_(value)
    return made


def save(run, step: int, value: float, best: bool) -> None:
    state = {"lr": 0.5, "moments/tensor": torch.full((2,), value)}
    Checkpoints(run).save(step, 1, layer(value), state, {"auc": value}, best)


def kept(run) -> list[str]:
    return sorted(path.name for path in (run / "checkpoints").iterdir())


def test_the_best_the_last_and_the_one_before_are_kept_until_training_is_done(tmp_path):
    for step, best in ((10, True), (20, True), (30, False), (40, False)):
        save(tmp_path, step, step / 10, best)
    assert read_checkpoint(tmp_path, "best")["weight"].tolist() == [[2.0, 2.0]]
    assert read_checkpoint(tmp_path, "last")["weight"].tolist() == [[4.0, 4.0]]
    assert kept(tmp_path) == ["step-0000020", "step-0000030", "step-0000040"]
    Checkpoints(tmp_path).settle()
    assert kept(tmp_path) == ["step-0000020", "step-0000040"]


def test_the_best_of_before_stays_as_long_as_one_may_go_back_to_then(tmp_path):
    save(tmp_path, 10, 1.0, best=True)
    save(tmp_path, 20, 2.0, best=False)
    save(tmp_path, 30, 3.0, best=True)
    assert kept(tmp_path) == ["step-0000010", "step-0000020", "step-0000030"]
    Checkpoints(tmp_path).go_back_to("step-0000020")
    assert kept(tmp_path) == ["step-0000010", "step-0000020"]
    assert read_checkpoint(tmp_path, "best")["bias"].tolist() == [1.0]
    assert read_checkpoint(tmp_path, "last")["bias"].tolist() == [2.0]


@pytest.mark.parametrize("remove", [Checkpoints.settle, lambda checkpoints: checkpoints.go_back_to("step-0000010")])
def test_a_kill_while_one_is_removed_leaves_no_part_of_it_under_its_name(tmp_path, monkeypatch, remove):
    for step in (10, 20, 30):
        save(tmp_path, step, step / 10, best=step == 10)

    def killed(folder, ignore_errors=False):
        if folder.exists():
            (folder / "manifest.json").unlink()
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            remove(Checkpoints(tmp_path))
    for name in kept(tmp_path):
        assert name.startswith(".") or (tmp_path / "checkpoints" / name / "manifest.json").exists()
    Checkpoints(tmp_path).settle()  # the next to look around
    assert not any(name.startswith(".") for name in kept(tmp_path))


@pytest.mark.parametrize("file", ["model.safetensors", "state.safetensors", "state.json", "manifest.json"])
@pytest.mark.parametrize("harm", ["cut", "gone"])
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(tmp_path, file, harm):
    save(tmp_path, 9, 1.0, best=True)
    save(tmp_path, 10, 2.0, best=False)
    save(tmp_path, 10, 3.0, best=True)
    told = []
    assert Checkpoints(tmp_path).newest(told.append) == "step-0000010-2"
    place = tmp_path / "checkpoints" / "step-0000010-2" / file
    place.write_bytes(place.read_bytes()[:-3])
    if harm == "gone":
        place.unlink()
    assert Checkpoints(tmp_path).newest(told.append) == "step-0000010"
    assert len(told) == 1
    assert "step-0000010-2 is passed over" in told[0]


def test_where_no_checkpoint_is_whole_that_is_an_error_and_where_there_is_none_it_is_not(tmp_path):
    assert Checkpoints(tmp_path).newest() is None
    save(tmp_path, 10, 1.0, best=True)
    (tmp_path / "checkpoints" / "step-0000010" / "state.json").unlink()
    with pytest.raises(DataError, match="no whole checkpoint"):
        Checkpoints(tmp_path).newest()


def test_a_checkpoint_is_due_by_steps_or_by_time(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("rechub_cli.run.checkpoints.time.monotonic", lambda: now[0])
    assert [Checkpoints(tmp_path, every_steps=3).due(step) for step in (1, 3, 4, 6)] == [False, True, False, True]
    timed = Checkpoints(tmp_path, every_minutes=0.5)
    now[0] = 29.0
    assert not timed.due(1)
    now[0] = 30.0
    assert timed.due(1)
    timed.save(1, 0, layer(1.0), {}, {}, False)
    assert not timed.due(2)


def test_a_step_saved_twice_keeps_the_newer_weights(tmp_path):
    save(tmp_path, 10, 1.0, best=True)
    save(tmp_path, 10, 2.0, best=True)
    assert read_checkpoint(tmp_path, "best")["bias"].tolist() == [2.0]


def test_the_best_weights_go_back_into_the_model(tmp_path):
    save(tmp_path, 10, 1.0, best=True)
    save(tmp_path, 20, 2.0, best=False)
    model = layer(9.0)
    Checkpoints(tmp_path).load_best(model)
    assert model.bias.item() == 1.0


def test_state_is_tensors_and_json_and_nothing_else(tmp_path):
    save(tmp_path, 10, 1.0, best=True)
    folder = tmp_path / "checkpoints" / "step-0000010"
    assert json.loads((folder / "state.json").read_text()) == {"lr": 0.5}
    assert sorted(path.name for path in folder.iterdir()) == [
        "manifest.json",
        "model.safetensors",
        "state.json",
        "state.safetensors",
    ]


def test_changed_weights_are_noticed(tmp_path):
    save(tmp_path, 10, 1.0, best=True)
    weights = tmp_path / "checkpoints" / "step-0000010" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(DataError, match="is damaged"):
        read_checkpoint(tmp_path)


def test_weights_cut_short_are_noticed(tmp_path):
    save(tmp_path, 10, 1.0, best=True)
    weights = tmp_path / "checkpoints" / "step-0000010" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4])
    with pytest.raises(DataError, match="is damaged"):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize("pointer", ["../../etc", "step-x", "", "step-0000010/../step-0000010"])
def test_a_pointer_names_a_checkpoint_of_this_run_or_nothing(tmp_path, pointer):
    save(tmp_path, 10, 1.0, best=True)
    (tmp_path / "best").write_text(pointer)
    with pytest.raises(NoInput, match="no finished checkpoint"):
        read_checkpoint(tmp_path)


def test_a_missing_manifest_is_an_incomplete_checkpoint(tmp_path):
    save(tmp_path, 10, 1.0, best=True)
    (tmp_path / "checkpoints" / "step-0000010" / "manifest.json").unlink()
    with pytest.raises(NoInput, match="incomplete"):
        read_checkpoint(tmp_path)


def test_tied_weights_are_saved(tmp_path):
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[1].weight = model[0].weight
    Checkpoints(tmp_path).save(1, 1, model, {}, {}, True)
    saved = read_checkpoint(tmp_path)
    assert torch.equal(saved["0.weight"], saved["1.weight"])
