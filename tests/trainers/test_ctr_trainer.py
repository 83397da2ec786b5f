"""The documented API, on foreign modules and on ours."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import nn
from trainer_toys import Constant, Ear, Foreign, Native, batch, batches, pairs, rows

from rechub_cli import CTRTrainer
from rechub_cli.batch import Output
from rechub_cli.errors import SpecError
from rechub_cli.schema import Task


@pytest.fixture(autouse=True)
def _seed_and_folder(tmp_path, monkeypatch):
    torch.manual_seed(0)
    monkeypatch.chdir(tmp_path)


def settle(trainer, loader):
    """Train until nothing moves any more."""
    for _ in range(300):
        trainer.train_one_epoch(loader)


def fast(**options):
    return {"optimizer_params": {"lr": 0.05}, "n_epoch": 4, **options}


@pytest.mark.parametrize(("model", "loader"), [(Foreign, pairs), (Native, batches)])
def test_training_learns_and_the_methods_return_upstreams_types(model, loader):
    trainer = CTRTrainer(model(), **fast())
    assert trainer.fit(loader(), loader(seed=1)) is None
    auc = trainer.evaluate(trainer.model, loader(seed=1))
    assert type(auc) is float
    assert auc > 0.95
    predictions = trainer.predict(trainer.model, loader(seed=1))
    assert len(predictions) == 400
    assert all(type(score) is float for score in predictions)
    assert auc == pytest.approx(roc_auc_score(rows(seed=1)[1], predictions))


def test_a_data_loader_of_torch_is_a_loader():
    x, y = rows()
    data = [({"x": x[i]}, y[i]) for i in range(len(x))]
    loader = torch.utils.data.DataLoader(data, batch_size=50, shuffle=True)
    trainer = CTRTrainer(Foreign(), **fast())
    trainer.fit(loader, loader)
    assert trainer.evaluate(trainer.model, loader) > 0.95


def test_an_iterable_without_a_length_is_a_loader():
    class Stream:
        def __iter__(self):
            return iter(pairs())

    ear = Ear()
    trainer = CTRTrainer(Foreign(), **fast(watcher=ear))
    trainer.fit(Stream())
    assert ear.started == (None, 4)
    assert ear.steps[-1] == (4, 7, None, 400)


def test_labels_may_be_a_column_or_integers():
    flat, column = CTRTrainer(Foreign()), CTRTrainer(Foreign())
    column.model.load_state_dict(flat.model.state_dict())
    loss = flat.train_one_epoch(pairs())
    assert column.train_one_epoch([(x, y.long().reshape(-1, 1)) for x, y in pairs()]) == loss


def test_train_one_epoch_returns_the_mean_loss_and_tells_every_tenth_step():
    ear = Ear()
    trainer = CTRTrainer(Constant(), optimizer_params={"lr": 0.0}, watcher=ear)
    assert trainer.train_one_epoch(batches(n=330, size=10)) == pytest.approx(math.log(2))
    assert [step for _, step, _, _ in ear.steps] == [10, 20, 30]
    trainer.train_one_epoch(batches(n=30, size=10), log_interval=1)
    assert ear.steps[3:] == [(2, 1, 3, 10), (2, 2, 3, 20), (2, 3, 3, 30)]


def test_a_foreign_module_gets_literally_the_optimizer_it_was_given():
    given = []

    def optimizer_fn(parameters, **params):
        given.append(params)
        return torch.optim.SGD(parameters, **params)

    weights = Foreign().state_dict()
    ours, plain = Foreign(), Foreign()
    ours.load_state_dict(weights)
    plain.load_state_dict(weights)
    CTRTrainer(ours, optimizer_fn, {"lr": 0.1, "momentum": 0.9}).train_one_epoch(pairs())
    sgd = torch.optim.SGD(plain.parameters(), lr=0.1, momentum=0.9)
    for x, y in pairs():
        sgd.zero_grad()
        nn.functional.binary_cross_entropy(plain(x), y).backward()
        sgd.step()
    assert given == [{"lr": 0.1, "momentum": 0.9}]
    torch.testing.assert_close(ours.state_dict(), plain.state_dict())


def test_the_default_optimizer_is_adam_with_upstreams_parameters():
    group = CTRTrainer(Foreign()).optimization.optimizers[0].param_groups[0]
    assert (group["lr"], group["weight_decay"]) == (1e-3, 1e-5)


def test_loss_mode_false_adds_the_other_loss():
    class WithPenalty(Foreign):
        def forward(self, x):
            return super().forward(x), 100 * self.out.bias.square().sum()

    trainer = CTRTrainer(WithPenalty(), loss_mode=False, **fast())
    trainer.fit(pairs(), pairs(seed=1))
    assert abs(trainer.model.out.bias.item()) < 0.02
    assert trainer.evaluate(trainer.model, pairs(seed=1)) > 0.9
    assert len(trainer.predict(trainer.model, pairs())) == 400


def test_the_aux_loss_of_a_model_is_added_as_it_stands():
    class WithAux(Constant):
        def forward(self, batch):
            return Output(self.logit.detach().expand(len(batch), 1), aux_loss=(self.logit - 3).square())

    trainer = CTRTrainer(WithAux(), optimizer_params={"lr": 0.3}, n_epoch=30)
    trainer.fit(batches())
    assert trainer.model.logit.item() == pytest.approx(3, abs=0.1)


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize(("model", "loader"), [(Foreign, pairs), (Native, batches)])
def test_a_last_batch_of_one_row_is_trained_and_scored(model, loader, norm):
    trainer = CTRTrainer(model(norm=norm), **fast())
    trainer.fit(loader(n=65), loader(n=65, seed=1))
    predictions = trainer.predict(trainer.model, loader(n=65))
    assert len(predictions) == 65
    together = trainer.predict(trainer.model, loader(n=65, size=65))
    np.testing.assert_allclose(predictions, together, rtol=1e-5)


def test_a_lone_row_learns_from_running_statistics_and_frozen_norms_stay_frozen():
    model = Foreign(norm=True)
    norm = model.layers[1]
    trainer = CTRTrainer(model)
    trainer.train_one_epoch(pairs(n=64))
    before = norm.running_mean.clone()
    weight = model.out.weight.clone()
    trainer.train_one_epoch(pairs(n=1))
    assert torch.equal(norm.running_mean, before)
    assert not torch.equal(model.out.weight, weight)
    assert norm.training


def test_weights_reach_the_loss_and_the_metrics():
    x = torch.zeros(2, 3)
    loader = [batch(x, torch.tensor([1.0, 0.0]), weights=torch.tensor([3.0, 1.0]))]
    trainer = CTRTrainer(Constant(), optimizer_params={"lr": 0.1}, metrics=["calibration"])
    settle(trainer, loader)
    assert trainer.predict(trainer.model, loader)[0] == pytest.approx(0.75, abs=0.01)
    assert trainer.evaluate_metrics(trainer.model, loader)["calibration"] == pytest.approx(1.0, abs=0.01)


def test_masked_labels_count_in_neither_loss_nor_metrics():
    loader = [batch(torch.zeros(4, 3), torch.tensor([1.0, 0.0, math.nan, math.nan]))]
    trainer = CTRTrainer(Constant(1.0), optimizer_params={"lr": 0.0}, metrics=["accuracy"])
    assert trainer.train_one_epoch(loader) == pytest.approx((math.log1p(math.exp(-1)) + math.log1p(math.e)) / 2)
    assert trainer.evaluate_metrics(trainer.model, loader)["accuracy"] == 0.5


def test_negative_rate_gives_predictions_on_the_true_scale():
    rate = 0.1  # of 10 % positives, 1000 rows of the world leave 100 + 90
    y = torch.cat([torch.ones(100), torch.zeros(90)])
    loader = [batch(torch.zeros(190, 3), y)]
    trainer = CTRTrainer(Constant(), optimizer_params={"lr": 0.1}, tasks=[Task("click", negative_rate=rate)])
    settle(trainer, loader)
    assert trainer.predict(trainer.model, loader)[0] == pytest.approx(0.1, abs=0.002)


def test_a_regression_label_has_squared_loss_and_predictions_as_they_stand():
    y = torch.tensor([10.0, 14.0])
    loader = [batch(torch.zeros(2, 3), y)]
    trainer = CTRTrainer(Constant(), optimizer_params={"lr": 0.3}, tasks=[Task("rating", type="regression")])
    settle(trainer, loader)
    assert trainer.predict(trainer.model, loader) == pytest.approx([12.0, 12.0], abs=0.01)
    assert trainer.evaluate(trainer.model, loader) == pytest.approx(2.0, abs=0.01)
    assert trainer.monitor == "rmse"


def test_own_losses_and_metrics_are_used():
    class Share:
        higher_is_better = True
        tasks = ("classification",)
        needs_group = False

        def __call__(self, labels, scores, weights=None, group=None):
            return float((scores > 0.5).mean())

    def to_one(predictions, labels, weights):
        return (1 - predictions).mean()

    trainer = CTRTrainer(Foreign(), loss=to_one, monitor=Share(), **fast(n_epoch=10))
    trainer.fit(pairs(), pairs())
    assert trainer.evaluate(trainer.model, pairs()) == 1.0
    assert trainer.history["val_share"].iloc[-1] == 1.0


def test_groups_reach_the_metrics_and_their_absence_is_told():
    x, y = rows()
    grouped = [batch(x, y, group=torch.arange(400) % 7)]
    trainer = CTRTrainer(Native(), metrics=["gauc", "ndcg@5"], **fast())
    trainer.fit(grouped, grouped)
    assert trainer.history["val_gauc"].iloc[-1] > 0.9
    with pytest.raises(SpecError, match="gauc needs the group"):
        trainer.evaluate_metrics(trainer.model, batches())


def test_predict_batches_carries_what_travels_beside_and_keeps_the_order():
    class Named(Native):
        def forward(self, batch):
            return Output(super().forward(batch).logits, extras={"first": batch.dense[:, 0]})

    loader = [(one, f"table {i}") for i, one in enumerate(batches(n=130))]
    trainer = CTRTrainer(Named())
    out = list(trainer.predict_batches(trainer.model, loader))
    assert [carried for _, _, carried in out] == ["table 0", "table 1", "table 2"]
    assert [tuple(scores.shape) for scores, _, _ in out] == [(64, 1), (64, 1), (2, 1)]
    assert torch.equal(torch.cat([extras["first"] for _, extras, _ in out]), rows(130)[0][:, 0])
    assert torch.cat([scores for scores, _, _ in out])[:, 0].tolist() == trainer.predict(trainer.model, loader)


def test_predict_needs_no_labels_and_leaves_the_mode_as_it_was():
    trainer = CTRTrainer(Foreign())
    with_labels = trainer.predict(trainer.model, pairs())
    trainer.model.train()
    assert trainer.predict(trainer.model, [x for x, _ in pairs()]) == with_labels
    assert trainer.model.training
    assert trainer.predict(trainer.model, []) == []


def test_evaluate_measures_the_model_it_is_given():
    trainer = CTRTrainer(Foreign(), **fast())
    trainer.fit(pairs())
    assert trainer.evaluate(trainer.model, pairs()) > 0.9 > abs(trainer.evaluate(Foreign(), pairs()) - 0.5) * 2


def test_bf16_trains_and_the_scores_are_float32():
    trainer = CTRTrainer(Native(), precision="bf16", **fast())
    trainer.fit(batches(), batches(seed=1))
    assert trainer.evaluate(trainer.model, batches(seed=1)) > 0.95
    scores, _, _ = next(trainer.predict_batches(trainer.model, batches()))
    assert scores.dtype == torch.float32
    assert len(set(scores.flatten().tolist())) > 40  # not rounded to the few values that bf16 has near 1


def test_clip_norm_bounds_the_step():
    free = CTRTrainer(Constant(), torch.optim.SGD, {"lr": 1.0})
    free.train_one_epoch([batch(torch.zeros(2, 3), torch.ones(2))])
    clipped = CTRTrainer(Constant(), torch.optim.SGD, {"lr": 1.0}, clip_norm=0.01)
    clipped.train_one_epoch([batch(torch.zeros(2, 3), torch.ones(2))])
    assert free.model.logit.item() == pytest.approx(0.5)
    assert clipped.model.logit.item() == pytest.approx(0.01, rel=1e-3)


def test_regularization_is_upstreams_penalty():
    trainer = CTRTrainer(
        Constant(2.0),
        torch.optim.SGD,
        {"lr": 0.1},
        {"dense_l2": 0.5, "dense_l1": 0.25},
        loss=lambda p, y, w: 0 * p.sum(),
    )
    trainer.train_one_epoch([batch(torch.zeros(2, 3), torch.ones(2))])
    assert trainer.model.logit.item() == pytest.approx(2.0 - 0.1 * (2 * 0.5 * 2.0 + 0.25))


def test_the_model_file_is_a_plain_state_dict_in_a_folder_that_is_made(tmp_path):
    trainer = CTRTrainer(Foreign(), model_path=str(tmp_path / "a" / "b"), **fast())
    trainer.fit(pairs(), pairs(seed=1))
    saved = torch.load(tmp_path / "a" / "b" / "model.pth", weights_only=True)
    fresh = Foreign()
    fresh.load_state_dict(saved)
    assert trainer.predict(fresh, pairs()) == trainer.predict(trainer.model, pairs())
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["model.pth"]


def test_model_loggers_are_fed_as_upstream_feeds_them():
    class Logger:
        def __init__(self):
            self.calls = []

        def log_hyperparams(self, values):
            self.calls.append(("hyperparams", values["n_epoch"], values["loss_mode"]))

        def log_metrics(self, values, step):
            self.calls.append((step, sorted(values)))

        def finish(self):
            self.calls.append("finish")

    one, two = Logger(), Logger()
    CTRTrainer(Foreign(), model_logger=[one, two], **fast(n_epoch=2)).fit(pairs(), pairs())
    keys = ["learning_rate", "train/loss", "val/auc"]
    assert one.calls == two.calls == [("hyperparams", 2, True), (0, keys), (1, keys), "finish"]


def test_history_has_a_row_for_each_epoch():
    trainer = CTRTrainer(Foreign(), metrics=["logloss"], **fast())
    trainer.fit(pairs(), pairs(seed=1))
    history = trainer.history
    assert list(history["epoch"]) == [1, 2, 3, 4]
    assert list(history["step"]) == [7, 14, 21, 28]
    assert {"train_loss", "val_auc", "val_logloss", "lr", "seconds", "rows_per_s", "best"} <= set(history.columns)
    assert history["train_loss"].is_monotonic_decreasing
