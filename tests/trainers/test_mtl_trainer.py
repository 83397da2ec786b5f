"""Several labels learnt together, through the public trainer."""

import math

import pytest
import torch
from mtl_toys import TASKS, Constants, Foreign, Shuffled, TwoTowers, batch, batches, rows
from trainer_toys import Ear, Keeper

from rechub_cli import MTLTrainer
from rechub_cli.errors import Interrupted
from rechub_cli.schema import Task

METHODS = {
    "equal": {},
    "static": {"weights": {"watch": 0.5}},
    "uwl": {},
    "uwl_nonnegative": {},
    "gradnorm": {"alpha": 0.16},
    "metabalance": {},
    "dwa": {},
    "pcgrad": {},
    "stch": {},
}


def trainer(model=None, tmp_path=".", tasks=TASKS, **more):
    torch.manual_seed(0)
    more = {"optimizer_params": {"lr": 0.02}, "n_epoch": 3, "model_path": str(tmp_path), "watcher": Ear(), **more}
    return MTLTrainer(TwoTowers(len(tasks)) if model is None else model, tasks=tasks, **more)


def test_fit_returns_upstreams_list_of_lists_and_writes_its_file(tmp_path):
    made = trainer(tmp_path=tmp_path / "new", n_epoch=4)
    log = made.fit(batches(), batches(seed=1), mode="mmoe", seed=7)
    assert [len(epoch) for epoch in log] == [4] * 4  # two losses, auc of click, rmse of watch
    assert log[-1][0] < log[0][0]
    assert log[-1][1] < log[0][1]
    assert made.evaluate(made.model, batches(seed=1)) == log[-1][2:]
    saved = torch.load(tmp_path / "new" / "model_mmoe_7.pth", weights_only=True)
    assert saved.keys() == TwoTowers().state_dict().keys()
    assert len(made.fit(batches(), mode="again")[0]) == 2  # without validation


def test_history_tells_each_tasks_loss_weight_and_metrics(tmp_path):
    made = trainer(tmp_path=tmp_path, adaptive_params={"method": "uwl"}, metrics=["logloss", "mae", "r2"])
    made.fit(batches(), batches(seed=1))
    history = made.history
    assert set(history) == {
        *("epoch", "step", "train_loss", "train_loss_click", "train_loss_watch", "weight_click", "weight_watch"),
        *("val_auc_click", "val_logloss_click"),  # rmse and mae are for numbers, where there are any
        *("val_rmse_watch", "val_mae_watch", "val_r2_watch"),
        *("lr", "seconds", "rows_per_s", "best"),
    }
    total = history["train_loss_click"] + history["train_loss_watch"]
    assert history["train_loss"].tolist() == pytest.approx(total.tolist(), rel=1e-5)
    assert history["weight_watch"].nunique() == 3
    assert made.weighting.weights.tolist() == history[["weight_click", "weight_watch"]].iloc[-1].tolist()


@pytest.mark.parametrize("method", METHODS)
def test_every_method_learns_both_tasks_with_a_scheduler_and_in_bf16(method, tmp_path):
    made = trainer(
        tmp_path=tmp_path,
        n_epoch=6,
        adaptive_params={"method": method, **METHODS[method]},
        scheduler_fn=torch.optim.lr_scheduler.OneCycleLR,
        scheduler_params={"max_lr": 0.05},
        precision="bf16",
        clip_norm=5.0,
        regularization_params={"dense_l2": 1e-6},
    )
    made.fit(batches(), batches(seed=1))
    auc, rmse = made.evaluate(made.model, batches(seed=1))
    assert auc > 0.97
    assert rmse < 0.5


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("stop_at", [3, 6])
def test_a_resumed_training_equals_an_uninterrupted_one(method, stop_at):
    def made(**more):
        torch.manual_seed(0)
        model = TwoTowers(dropout=0.3, aux=True)
        return trainer(model, adaptive_params={"method": method, **METHODS[method]}, n_epoch=4, seed=5, **more)

    whole = made(checkpoints=Keeper())
    whole.fit(Shuffled(), Shuffled())

    keeper = Keeper()
    first = made(checkpoints=keeper, watcher=Ear(stop_at=stop_at))
    with pytest.raises(Interrupted):
        first.fit(Shuffled(), Shuffled())
    last = keeper.saved[-1]
    second = made(checkpoints=keeper)
    second.model.load_state_dict(last["weights"])
    second.load_state(last["state"])
    second.fit(Shuffled(), Shuffled())

    torch.testing.assert_close(second.model.state_dict(), whole.model.state_dict(), rtol=0, atol=0)
    torch.testing.assert_close(second.weighting.state_dict(), whole.weighting.state_dict(), rtol=0, atol=0)
    steady = ["train_loss_click", "train_loss_watch", "weight_click", "weight_watch", "val_auc_click", "val_rmse_watch"]
    assert second.history[steady].equals(whole.history[steady])


def test_a_foreign_module_gets_the_loss_of_its_probabilities(tmp_path):
    x, y = rows()
    loader = [({"x": x[i : i + 64]}, y[i : i + 64]) for i in range(0, 400, 64)]
    torch.manual_seed(0)
    foreign = trainer(Foreign(), tmp_path)
    native = trainer(TwoTowers(), tmp_path)
    native.model.load_state_dict(foreign.model.state_dict())
    ours, theirs = native.fit(batches()), foreign.fit(loader)
    assert torch.tensor(ours).allclose(torch.tensor(theirs), atol=1e-4)
    scores = foreign.predict(foreign.model, [{"x": x[:5]}])
    assert len(scores) == 5
    assert len(scores[0]) == 2
    assert torch.tensor(scores).allclose(torch.tensor(foreign.predict(foreign.model, loader)[:5]))


def test_a_masked_label_teaches_nothing_and_counts_nowhere(tmp_path):
    x, y = rows(64)
    masked = y.clone()
    masked[32:, 1] = torch.nan
    made = trainer(Constants(0.0, 2.0), tmp_path, n_epoch=1, optimizer_fn=torch.optim.SGD, optimizer_params={"lr": 0.1})
    ((click, watch),) = made.fit([batch(x, masked)])
    assert click == pytest.approx(math.log(2))
    assert watch == pytest.approx(float((2 - y[:32, 1]).square().mean()), rel=1e-5)
    step = 0.1 * float((2 * (2 - y[:32, 1])).mean())
    assert made.model.logits[1].item() == pytest.approx(2 - step, rel=1e-5)


def test_the_mean_loss_of_a_task_is_over_the_rows_that_have_its_label(tmp_path):
    x, y = rows(96)
    one, other = y[:64].clone(), y[64:].clone()
    one[8:, 1] = torch.nan
    model = Constants(0.0, 0.0)
    made = trainer(model, tmp_path, n_epoch=1, optimizer_fn=torch.optim.SGD, optimizer_params={"lr": 0.0})
    ((_, watch),) = made.fit([batch(x[:64], one), batch(x[64:], other)])
    assert watch == pytest.approx(float(torch.cat([y[:8, 1], y[64:, 1]]).square().mean()), rel=1e-5)


def test_a_task_without_labels_in_an_epoch_does_not_stop_the_others(tmp_path):
    def masked(y):
        return torch.stack([y[:, 0], torch.full_like(y[:, 1], torch.nan)], dim=1)

    for method in METHODS:
        made = trainer(tmp_path=tmp_path, adaptive_params={"method": method, **METHODS[method]}, n_epoch=3)
        log = made.fit(batches(change=masked))
        assert log[-1][0] < log[0][0]
        assert math.isnan(log[-1][1])
        assert all(parameter.isfinite().all() for parameter in made.model.parameters())


def test_a_label_has_row_weights_of_its_own(tmp_path):
    x, y = rows(64)
    generator = torch.Generator().manual_seed(3)
    weights, own = torch.rand(64, generator=generator), torch.rand(64, 2, generator=generator)
    own[:40, 1] = 0
    made = trainer(Constants(0.0, 1.0), tmp_path, n_epoch=1, optimizer_params={"lr": 0.0})
    loader = [batch(x, y, weights, own)]
    ((_, watch),) = made.fit(loader)
    expected = (weights * own[:, 1])[40:]
    error = (1 - y[40:, 1]).square()
    assert watch == pytest.approx(float((expected * error).sum() / expected.sum()), rel=1e-5)
    rmse = made.evaluate(made.model, loader)[1]
    assert rmse == pytest.approx(watch**0.5, rel=1e-5)  # metrics too


def test_sampled_negatives_shift_only_the_tasks_they_belong_to(tmp_path):
    """A quarter of the rows click; only a tenth of the negatives were kept."""
    y = torch.tensor([[1.0, 3.0], [0.0, 3.0], [0.0, 3.0], [0.0, 3.0]])
    tasks = (Task("click", negative_rate=0.1), Task("watch", "regression"))
    made = trainer(Constants(0.0, 0.0), tmp_path, tasks, n_epoch=1, optimizer_params={"lr": 0.05})
    made.fit([batch(torch.zeros(4, 1), y)] * 400)
    click, watch = made.predict(made.model, [batch(torch.zeros(1, 1), None)])[0]
    assert click == pytest.approx(1 / 31, rel=0.01)  # 1 : 3 became 1 : 30
    assert watch == pytest.approx(3, rel=0.01)


def test_a_lone_row_trains(tmp_path):
    made = trainer(tmp_path=tmp_path, n_epoch=1)
    made.fit(batches(n=65), batches(n=65))
    x, y = rows(65)
    foreign = trainer(Foreign(), tmp_path, n_epoch=1)
    foreign.fit([({"x": x[:64]}, y[:64]), ({"x": x[64:]}, y[64:])])


def test_train_one_epoch_returns_each_tasks_loss(tmp_path):
    made = trainer(tmp_path=tmp_path)
    first, second = made.train_one_epoch(batches()), made.train_one_epoch(batches())
    assert len(first) == 2
    assert second[0] < first[0]
    assert second[1] < first[1]


def test_each_task_may_have_a_loss_of_its_own(tmp_path):
    def absolute(values, labels, weights):
        return (values - labels).abs().mean()

    x, y = rows(64)
    for loss in ({"watch": absolute}, [None, absolute], ["BCE", absolute]):
        made = trainer(Constants(0.0, 0.0), tmp_path, n_epoch=1, optimizer_params={"lr": 0.0}, loss=loss)
        assert made.fit([batch(x, y)])[0] == pytest.approx([math.log(2), float(y[:, 1].abs().mean())], rel=1e-5)


def test_loggers_are_fed(tmp_path):
    class Logger:
        def log_hyperparams(self, params):
            self.params = params

        def log_metrics(self, metrics, step):
            self.metrics = metrics

        def finish(self):
            self.finished = True

    logger = Logger()
    made = trainer(tmp_path=tmp_path, model_logger=logger, adaptive_params={"method": "gradnorm"})
    made.fit(batches(), batches())
    assert logger.params["adaptive_method"] == "gradnorm"
    assert {"train/loss_click", "loss_weight/watch", "val/auc_click", "learning_rate"} <= logger.metrics.keys()
    assert logger.finished
