"""Epochs, best weights, early stopping, schedulers, interruption and resuming."""

import json
import math

import pytest
import torch
from torch.optim import lr_scheduler
from trainer_toys import Constant, Ear, Keeper, Native, Scripted, Shuffled, batch, batches

from rechub_cli import CTRTrainer
from rechub_cli.errors import Interrupted, RunFailed, SpecError

NAN = math.nan


@pytest.fixture(autouse=True)
def _seed_and_folder(tmp_path, monkeypatch):
    torch.manual_seed(0)
    monkeypatch.chdir(tmp_path)


def scripted(values, higher_is_better=True, **options):
    """A trainer whose validation gives these values; its one weight grows at every step."""
    options = {"n_epoch": len(values), "watcher": Ear(), **options}
    return CTRTrainer(
        Constant(),
        torch.optim.SGD,
        {"lr": 1.0},
        loss=lambda predictions, labels, weights: -predictions.mean(),
        monitor=Scripted(values, higher_is_better),
        **options,
    )


def one_step():
    return [batch(torch.zeros(2, 3), torch.tensor([0.0, 1.0]))]


@pytest.mark.parametrize(
    ("values", "higher", "patience", "epochs", "best"),
    [
        ([0.6, 0.8, 0.7], True, 10, 3, 2),  # all epochs run; the best is not the last
        ([0.6, 0.8, 0.7, 0.7, 0.9], True, 2, 4, 2),  # stops at the second epoch without a better one
        ([0.6, 0.4, 0.5], False, 10, 3, 2),  # lower is better
        ([-3.0, -2.0, -4.0], True, 10, 3, 2),  # below zero
        ([0.5, 0.5, 0.5], True, 10, 3, 1),  # equal is not better
        ([0.0, 0.0], True, 10, 2, 1),
        ([NAN, 0.5, NAN, 0.4], True, 10, 4, 2),  # undefined never beats a number
        ([NAN, NAN, NAN], True, 1, 3, 3),  # nothing else: the latest, and training goes on
        ([0.7, NAN, NAN, 0.6, 0.9], True, 1, 4, 1),  # undefined does not use up patience
    ],
)
def test_the_best_weights_are_restored_and_saved(values, higher, patience, epochs, best, tmp_path):
    trainer = scripted(values, higher, earlystop_patience=patience)
    trainer.fit(one_step(), one_step())
    assert len(trainer.history) == epochs
    assert trainer.model.logit.item() == best  # its value is the number of the steps it was trained
    assert torch.load(tmp_path / "model.pth", weights_only=True)["logit"].item() == best
    assert [one.epoch for one in trainer.watcher.epochs if one.best][-1] == best


def test_an_early_stop_is_told():
    trainer = scripted([0.6, 0.5, 0.5, 0.9], earlystop_patience=2)
    trainer.fit(one_step(), one_step())
    assert [event for _, event, _ in trainer.watcher.messages] == ["early_stop"]


def test_an_undefined_metric_is_warned_of():
    x = torch.zeros(2, 3)
    ear = Ear()
    trainer = CTRTrainer(Native(), n_epoch=2, watcher=ear)
    trainer.fit(batches(), [batch(x, torch.ones(2))])
    assert [(level, event) for level, event, _ in ear.messages] == [("warn", "warning")] * 2
    assert "validation auc is undefined" in ear.messages[0][2]


def test_without_validation_every_epoch_runs_and_the_last_weights_stay():
    trainer = scripted([], n_epoch=3, earlystop_patience=1)
    trainer.fit(one_step())
    assert trainer.model.logit.item() == 3
    assert list(trainer.history["best"]) == [True] * 3


def test_validation_within_an_epoch_can_find_the_best_weights():
    # Steps 2 and 4 within the epoch, 5 at its end.
    trainer = scripted([0.5, 0.9, 0.6, 0.7, 0.7, 0.7], n_epoch=2, eval_every_steps=2)
    trainer.fit(one_step() * 5, one_step())
    assert list(trainer.history["step"]) == [2, 4, 5, 6, 8, 10]
    assert trainer.model.logit.item() == 4
    assert [one.step for one in trainer.watcher.epochs] == [5, 10]
    assert [event for _, event, _ in trainer.watcher.messages] == ["eval.result"] * 4


def test_an_epoch_that_improved_within_is_not_a_stale_one():
    trainer = scripted([0.5, 0.4, 0.6, 0.4, 0.7, 0.4], n_epoch=3, eval_every_steps=1, earlystop_patience=1)
    trainer.fit(one_step() * 2, one_step())
    assert trainer.model.logit.item() == 5


def test_fit_again_starts_a_new_training_from_the_weights_there_are():
    trainer = scripted([0.5, 0.6, 0.1, 0.2], n_epoch=2)
    trainer.fit(one_step(), one_step())
    trainer.fit(one_step(), one_step())
    assert trainer.model.logit.item() == 4
    assert list(trainer.history["epoch"]) == [1, 2]


@pytest.mark.parametrize("when", [3, 150])
def test_a_loss_that_is_not_a_number_ends_the_run_and_keeps_the_best(when):
    calls = []

    def loss(predictions, labels, weights):
        calls.append(1)
        return predictions.mean() * (NAN if len(calls) == 200 + when else -1.0)

    keeper = Keeper()
    trainer = CTRTrainer(Constant(), loss=loss, checkpoints=keeper, n_epoch=5)
    with pytest.raises(RunFailed, match=r"not a number: epoch 2, at or before step .*lower optimizer_params.lr"):
        trainer.fit(one_step() * 200, one_step())
    assert [one["step"] for one in keeper.saved] == [200]


SCHEDULERS = [
    (lr_scheduler.StepLR, {"step_size": 2, "gamma": 0.5}),
    (lr_scheduler.MultiStepLR, {"milestones": [1, 3], "gamma": 0.1}),
    (lr_scheduler.ExponentialLR, {"gamma": 0.9}),
    (lr_scheduler.CosineAnnealingLR, {"T_max": 4}),
    (lr_scheduler.CosineAnnealingWarmRestarts, {"T_0": 2}),
    (lr_scheduler.LinearLR, {}),
    (lr_scheduler.PolynomialLR, {"total_iters": 4}),
    (lr_scheduler.LambdaLR, {"lr_lambda": lambda epoch: 0.5**epoch}),
    (lr_scheduler.MultiplicativeLR, {"lr_lambda": lambda epoch: 0.5}),
    (lr_scheduler.CyclicLR, {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 3, "cycle_momentum": False}),
    (lr_scheduler.OneCycleLR, {"max_lr": 0.1}),
    (lr_scheduler.ReduceLROnPlateau, {"patience": 0, "factor": 0.5}),
    (lambda optimizer: lr_scheduler.SequentialLR(
        optimizer, [lr_scheduler.ConstantLR(optimizer), lr_scheduler.ExponentialLR(optimizer, 0.5)], [2]), {}),
]  # fmt: skip
IDS = [getattr(fn, "__name__", "") for fn, _ in SCHEDULERS]


@pytest.mark.parametrize(("scheduler_fn", "params"), SCHEDULERS, ids=IDS)
def test_any_scheduler_moves_the_learning_rate_and_resumes_where_it_was(scheduler_fn, params):
    def trainer(n_epoch):
        options = {"optimizer_params": {"lr": 0.1}, "scheduler_fn": scheduler_fn, "scheduler_params": params}
        return CTRTrainer(
            Constant(),
            **options,
            n_epoch=n_epoch,
            checkpoints=Keeper(),
            monitor=Scripted([0.5] * 9),
            earlystop_patience=9,
        )

    whole = trainer(5)
    whole.fit(batches(n=128), batches(n=128))
    rates = list(whole.history["lr"])
    assert len(set(rates)) > 1

    saved = whole.checkpoints.saved[1]
    rest = trainer(5)
    rest.checkpoints = whole.checkpoints
    rest.model.load_state_dict(saved["weights"])
    rest.load_state(through_json(saved["state"]))
    rest.fit(batches(n=128), batches(n=128))
    assert list(rest.history["lr"]) == rates


def through_json(state):
    """As a checkpoint keeps it: tensors apart, the rest as strict JSON."""
    tensors = {name: value for name, value in state.items() if isinstance(value, torch.Tensor)}
    rest = {name: value for name, value in state.items() if name not in tensors}
    return tensors | json.loads(json.dumps(rest, allow_nan=False))


def rates_by_step(trainer, loader):
    rates = []
    step = trainer.step
    trainer.step = lambda item: (rates.append(trainer.optimization.lr), step(item))[1]
    trainer.fit(loader)
    return rates


def test_one_cycle_spans_the_training_batch_by_batch():
    trainer = CTRTrainer(
        Constant(), scheduler_fn=lr_scheduler.OneCycleLR, scheduler_params={"max_lr": 0.1, "pct_start": 0.5}, n_epoch=2
    )
    rates = rates_by_step(trainer, batches(n=64 * 10))
    assert len(rates) == 20
    assert max(rates) == pytest.approx(0.1, rel=0.02)
    assert rates.index(max(rates)) in (9, 10)


@pytest.mark.parametrize(("step", "changes"), [("batch", 4), ("epoch", 0), (None, 0)])
def test_any_scheduler_can_move_at_every_batch(step, changes):
    params = {"gamma": 0.5} | ({"step": step} if step else {})
    trainer = CTRTrainer(Constant(), scheduler_fn=lr_scheduler.ExponentialLR, scheduler_params=params, n_epoch=1)
    rates = rates_by_step(trainer, batches(n=64 * 5))
    assert len(set(rates)) == changes + 1


@pytest.mark.parametrize(("values", "higher"), [([0.5, 0.6, 0.7, 0.8], True), ([0.8, 0.7, 0.6, 0.5], False)])
def test_a_plateau_is_judged_in_the_direction_of_the_metric(values, higher):
    options = {"scheduler_fn": lr_scheduler.ReduceLROnPlateau, "scheduler_params": {"patience": 0, "factor": 0.5}}
    better = scripted(values, higher, **options)
    better.fit(one_step(), one_step())
    assert set(better.history["lr"]) == {1.0}
    worse = scripted(values[::-1], higher, **options)
    worse.fit(one_step(), one_step())
    assert list(worse.history["lr"]) == [1.0, 1.0, 0.5, 0.25]


def test_schedulers_of_wrong_parameters_or_length_are_told():
    wrong = CTRTrainer(Constant(), scheduler_fn=lr_scheduler.StepLR, scheduler_params={"stepsize": 2})
    with pytest.raises(SpecError, match=r"scheduler_params of StepLR: .*stepsize"):
        wrong.fit(batches())
    short = CTRTrainer(
        Constant(), scheduler_fn=lr_scheduler.OneCycleLR, scheduler_params={"max_lr": 0.1, "total_steps": 3}
    )
    with pytest.raises(RunFailed, match="OneCycleLR"):
        short.fit(batches())


def resumable(**options):
    torch.manual_seed(5)
    options = {"optimizer_params": {"lr": 0.02}, "n_epoch": 4, "seed": 7, "checkpoints": Keeper(), **options}
    return CTRTrainer(Native(dropout=0.3, norm=True), **options)


@pytest.mark.parametrize("stop_at", [3, 7, 9, 12, 21])  # polls: 7 steps an epoch, then 7 batches of validation
def test_a_resumed_training_equals_an_uninterrupted_one(stop_at):
    whole = resumable(metrics=["logloss"])
    whole.fit(Shuffled(), batches(seed=1))

    stopped = resumable(metrics=["logloss"], watcher=Ear(stop_at))
    with pytest.raises(Interrupted) as caught:
        stopped.fit(Shuffled(), batches(seed=1))
    assert caught.value.exit_code == 143
    saved = stopped.checkpoints.saved[-1]
    assert not saved["best"]

    torch.manual_seed(99)
    resumed = resumable(metrics=["logloss"])
    resumed.model.load_state_dict(saved["weights"])
    resumed.load_state(through_json(saved["state"]))
    resumed.checkpoints.saved = stopped.checkpoints.saved
    resumed.fit(Shuffled(), batches(seed=1))

    for name, weight in whole.model.state_dict().items():
        assert torch.equal(weight, resumed.model.state_dict()[name]), name
    timing = ["seconds", "rows_per_s"]
    assert whole.history.drop(columns=timing).equals(resumed.history.drop(columns=timing))


def test_early_stopping_remembers_across_a_resume():
    stopped = scripted([0.9, 0.5, 0.5], earlystop_patience=3, checkpoints=Keeper(), n_epoch=3)
    stopped.fit(one_step(), one_step())
    resumed = scripted([0.5, 0.5, 0.5], earlystop_patience=3, checkpoints=stopped.checkpoints, n_epoch=9)
    resumed.load_state(through_json(stopped.checkpoints.saved[-1]["state"]))
    resumed.fit(one_step(), one_step())
    assert len(resumed.history) == 4
    assert resumed.model.logit.item() == 1  # the best, of before


def test_a_loader_without_positions_is_skipped_forward():
    stopped = scripted([], n_epoch=1, watcher=Ear(stop_at=4), checkpoints=Keeper())
    with pytest.raises(Interrupted):
        stopped.fit(one_step() * 10)
    resumed = scripted([], n_epoch=1, checkpoints=stopped.checkpoints)
    resumed.model.load_state_dict(stopped.checkpoints.saved[-1]["weights"])
    resumed.load_state(stopped.checkpoints.saved[-1]["state"])
    resumed.fit(one_step() * 10)
    assert resumed.model.logit.item() == 10


def test_a_signal_ends_evaluation_and_prediction_too():
    trainer = CTRTrainer(Native(), watcher=Ear(stop_at=2))
    with pytest.raises(Interrupted):
        trainer.evaluate(trainer.model, batches())
    trainer.watcher.polls = 0
    with pytest.raises(Interrupted):
        trainer.predict(trainer.model, batches())


def test_the_seed_decides_the_randomness_within_training():
    def weights(seed):
        trainer = resumable(seed=seed, n_epoch=1)
        trainer.fit(batches())
        return trainer.model.out.weight

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


def test_memory_that_runs_out_is_told():
    class Hungry(Native):
        def forward(self, batch):
            raise torch.OutOfMemoryError("wanted 9 TiB")

    with pytest.raises(RunFailed, match="out of memory: lower batch_size"):
        CTRTrainer(Hungry()).fit(batches())
