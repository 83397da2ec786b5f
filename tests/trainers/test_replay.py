"""Which steps are recorded and replayed, and on which rows. Here a list stands for a CUDA graph; see test_gpu.py."""

import contextlib
import copy
from dataclasses import replace
from importlib.metadata import entry_points

import pytest
import torch
from trainer_toys import Ear

from rechub_cli.batch import Batch, Jagged
from rechub_cli.losses.bce import bce
from rechub_cli.models.ranking.lr import LR
from rechub_cli.schema import Feature, Schema, Task
from rechub_cli.testing.ranking import _rows, schema_of
from rechub_cli.trainers.batches import take
from rechub_cli.trainers.optimization import Optimization
from rechub_cli.trainers.replay import WARM_UP, Replay

SCHEMA = Schema((Feature("item", "sparse", 4, 9),), (Task("click"),))
CUDA = torch.device("cuda")


class Graphs:
    """Stands for torch.cuda: what is learnt while recording is learnt again at every replay."""

    def __init__(self, monkeypatch, fails=False):
        self.recording, self.fails = False, fails
        stream = type("Stream", (), {"wait_stream": lambda self, other: None})()
        monkeypatch.setattr(torch.cuda, "Stream", lambda device: stream)
        monkeypatch.setattr(torch.cuda, "current_stream", lambda device: stream)
        monkeypatch.setattr(torch.cuda, "stream", lambda stream: contextlib.nullcontext())
        monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: self)
        monkeypatch.setattr(torch.cuda, "graph", self.graph)
        self.learnt = []  # (how, the rows' labels)
        self.rows = self.loss = None

    @contextlib.contextmanager
    def graph(self, graph, **options):
        self.recording = True
        yield
        self.recording = False
        if self.fails:
            raise RuntimeError("operation not permitted when stream is capturing\nand more")

    def learn(self, rows):
        if self.recording:
            self.rows, self.loss = rows, torch.zeros(())
            return self.loss
        self.learnt.append(("step", rows.labels.flatten().tolist()))
        return rows.labels.sum()

    def replay(self):
        self.learnt.append(("replay", self.rows.labels.flatten().tolist()))
        self.loss.copy_(self.rows.labels.sum())

    @property
    def how(self):
        return [how for how, _ in self.learnt]


def rows(*labels, **parts):
    ids = torch.ones(len(labels), 1, dtype=torch.int32)
    return take(
        Batch(ids, torch.zeros(len(labels), 0), labels=torch.tensor(labels)[:, None], **parts), torch.device("cpu")
    )


def replay(graphs, ear=None, optimizer=torch.optim.Adam, **options):
    model = LR(SCHEMA)
    optimization = Optimization(model, optimizer, {"lr": 0.1})
    optimization.start(1, None, False)
    options = {"losses": [bce]} | options
    return Replay(graphs.learn, options.pop("model", model), optimization, CUDA, ear or Ear(), **options)


def test_after_some_steps_alike_one_is_recorded_and_replayed_on_the_rows_that_come(monkeypatch):
    graphs = Graphs(monkeypatch)
    learn = replay(graphs)
    losses = [float(learn(rows(float(step), 1.0))) for step in range(WARM_UP + 3)]
    assert losses == [step + 1.0 for step in range(WARM_UP + 3)]
    assert graphs.learnt == [
        *(("step", [step, 1.0]) for step in range(WARM_UP)),
        *(("replay", [step, 1.0]) for step in range(WARM_UP, WARM_UP + 3)),
    ]


def test_fewer_rows_are_learnt_by_a_step_and_the_record_is_kept(monkeypatch):
    graphs = Graphs(monkeypatch)
    learn = replay(graphs)
    for _ in range(2):
        for _ in range(WARM_UP + 1):
            learn(rows(1.0, 2.0, 3.0))
        learn(rows(4.0, 5.0))
    assert graphs.how == ["step"] * WARM_UP + ["replay", "step"] + ["replay"] * (WARM_UP + 1) + ["step"]


@pytest.mark.parametrize("change", ["lr", "training"])
def test_another_learning_rate_or_training_is_recorded_anew(monkeypatch, change):
    graphs = Graphs(monkeypatch)
    learn = replay(graphs)
    for _ in range(WARM_UP + 1):
        learn(rows(1.0, 2.0))
    if change == "lr":
        learn.optimization.optimizers[0].param_groups[0]["lr"] = 0.01
    else:
        learn.optimization.start(1, None, False)
    for _ in range(WARM_UP + 2):
        learn(rows(1.0, 2.0))
    assert graphs.how == (["step"] * WARM_UP + ["replay"]) + (["step"] * WARM_UP + ["replay"] * 2)


class Promises(torch.nn.Linear):
    steady = True


@pytest.mark.parametrize(("model", "how"), [(torch.nn.Linear(1, 1), "step"), (Promises(1, 1), "replay")])
def test_a_model_from_elsewhere_is_recorded_if_it_promises_to_be_steady(monkeypatch, model, how):
    graphs = Graphs(monkeypatch)
    learn = replay(graphs, model=model)
    for _ in range(WARM_UP + 1):
        learn(rows(1.0, 2.0))
    assert graphs.how[-1] == how


JAGGED = Jagged(torch.ones(3, dtype=torch.int32), torch.tensor([0, 2, 3]))


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({"steady": False}, {}),
        ({"losses": [torch.nn.functional.mse_loss]}, {}),
        ({"model": torch.nn.Linear(1, 1)}, {}),
        ({"optimizer": torch.optim.RMSprop}, {}),
        ({"model": Promises(1, 1)}, {"sequences": {"s": JAGGED}}),
        ({}, {"targets": JAGGED}),
    ],
    ids=["unsteady", "loss", "model", "optimizer", "sequences of others", "targets"],
)
def test_what_may_differ_from_step_to_step_is_never_recorded(monkeypatch, options, parts):
    graphs = Graphs(monkeypatch)
    learn = replay(graphs, **options)
    for _ in range(WARM_UP + 3):
        learn(rows(1.0, 2.0, **parts))
    assert graphs.how == ["step"] * (WARM_UP + 3)


def lists(*lengths):
    offsets = torch.tensor([0, *lengths]).cumsum(0)
    return {"s": Jagged(torch.arange(1, int(offsets[-1]) + 1, dtype=torch.int32), offsets)}


def test_sequences_are_filled_up_and_replayed_with_the_values_that_come(monkeypatch):
    graphs = Graphs(monkeypatch)
    learn = replay(graphs)
    for lengths in [(16, 0)] * (WARM_UP + 1) + [(2, 3)]:
        learn(rows(1.0, 2.0, sequences=lists(*lengths)))
    assert graphs.how == ["step"] * WARM_UP + ["replay"] * 2
    recorded = graphs.rows.inputs.sequences["s"]
    assert recorded.values.tolist() == [1, 2, 3, 4, 5] + [0] * 14
    assert recorded.offsets.tolist() == [0, 2, 5]
    assert recorded.filled
    assert recorded.rows.tolist() == [0, 0, 1, 1, 1] + [1] * 14
    assert recorded.mask.tolist() == [True] * 5 + [False] * 14


def test_a_copy_on_another_device_still_says_that_it_is_filled():
    filled = Jagged(torch.ones(3, dtype=torch.int32), torch.tensor([0, 2]), filled=True)
    assert filled.to("meta").filled
    assert not JAGGED.to("meta").filled


def test_more_values_than_there_is_room_for_are_recorded_anew(monkeypatch):
    graphs = Graphs(monkeypatch)
    learn = replay(graphs)
    for lengths in [(1, 3)] * (WARM_UP + 1) + [(9, 0)] * (WARM_UP + 1) + [(1, 1)]:
        learn(rows(1.0, 2.0, sequences=lists(*lengths)))
    assert graphs.how == (["step"] * WARM_UP + ["replay"]) * 2 + ["replay"]
    assert graphs.rows.inputs.sequences["s"].values.tolist() == [1, 2] + [0] * 9


def test_a_lone_row_is_learnt_by_a_step(monkeypatch):
    graphs = Graphs(monkeypatch)
    learn = replay(graphs)
    for _ in range(WARM_UP + 3):
        learn(rows(1.0))
    assert set(graphs.how) == {"step"}


def test_a_gpu_that_cannot_record_goes_on_step_by_step_and_says_so_once(monkeypatch):
    graphs, ear = Graphs(monkeypatch, fails=True), Ear()
    learn = replay(graphs, ear)
    for step in range(WARM_UP + 3):
        assert float(learn(rows(float(step), 1.0))) == step + 1.0
    assert graphs.how == ["step"] * (WARM_UP + 3)
    assert [message for _, _, message, *_ in ear.messages if "operation not permitted when stream" in message]


PLUGINS = [entry for entry in entry_points(group="rechub.models") if ".matching." not in entry.module]


@pytest.mark.parametrize("entry", PLUGINS, ids=lambda entry: entry.name)
def test_filled_sequences_teach_every_model_what_the_plain_ones_do(entry):
    torch.manual_seed(0)
    first = entry.load()(schema_of(entry.load()))
    with torch.no_grad():  # rows of padding too
        for parameter in first.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    batch = _rows(32)
    assert batch.sequences
    filled = {
        name: Jagged(torch.cat([sequence.values, sequence.values.new_zeros(5)]), sequence.offsets, filled=True)
        for name, sequence in batch.sequences.items()
    }
    found = []
    for sequences in (batch.sequences, filled):
        model = copy.deepcopy(first)
        torch.manual_seed(1)
        logits = model(replace(batch, sequences=sequences)).logits
        logits.square().sum().backward()
        grads = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
        found.append((logits, grads, dict(model.named_buffers())))
    torch.testing.assert_close(found[0], found[1], atol=1e-5, rtol=1e-4)
