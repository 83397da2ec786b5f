"""What tells the best weights, how loss weights are learnt, and mistakes."""

import pytest
import torch
from mtl_toys import TASKS, Constants, TwoTowers, batch, batches
from trainer_toys import Ear, Keeper

from rechub_cli import MTLTrainer
from rechub_cli.errors import DataError, SpecError
from rechub_cli.schema import Task


def trainer(model=None, tmp_path=".", tasks=TASKS, **more):
    torch.manual_seed(0)
    more = {"optimizer_params": {"lr": 0.02}, "n_epoch": 3, "model_path": str(tmp_path), "watcher": Ear(), **more}
    return MTLTrainer(TwoTowers(len(tasks)) if model is None else model, tasks=tasks, **more)


class Scripted:
    """A metric of both types that returns what it was told: first of click, then of watch, epoch by epoch."""

    tasks, needs_group = ("classification", "regression"), False

    def __init__(self, values, higher_is_better):
        self.values, self.higher_is_better = list(values), higher_is_better

    def __call__(self, labels, scores, weights=None, group=None):
        return self.values.pop(0)


@pytest.mark.parametrize(
    ("task", "higher", "best"), [(0, True, 2), ("click", False, 1), (1, True, 1), ("watch", False, 3)]
)
def test_the_best_epoch_is_that_of_the_task_that_is_asked_for(task, higher, best):
    keeper = Keeper()
    metric = Scripted([0.1, 0.9, 0.7, 0.8, 0.3, 0.2], higher)
    made = trainer(monitor=metric, earlystop_taskid=task, checkpoints=keeper)
    made.fit(batches(), batches())
    assert [one["epoch"] for one in keeper.saved if one["best"]][-1] == best


def test_a_regression_stops_on_its_lowest_error(tmp_path):
    """Its one weight moves away from the mean of the validation labels, so that the first epoch is the best."""
    model = Constants(0.0, 1.0)
    train, valid = batch(torch.zeros(4, 1), torch.tensor([[1.0, 9.0]] * 4)), batches(change=lambda y: y * 0 + 1.0)
    made = trainer(model, tmp_path, earlystop_taskid=1, earlystop_patience=2, n_epoch=50)
    log = made.fit([train], valid)
    assert made.monitor == "rmse_watch"
    assert len(log) == 3  # two epochs without a better one
    assert made.model.logits[1].item() == pytest.approx(1.02, abs=1e-3)  # after the first


def test_a_weighted_sum_of_metrics():
    keeper = Keeper()
    made = trainer(monitor={"auc_click": 0.5, "rmse_watch": -0.25}, checkpoints=keeper)
    made.fit(batches(), batches(seed=1))
    last = made.history.iloc[-1]
    assert last["val_monitor"] == pytest.approx(0.5 * last["val_auc_click"] - 0.25 * last["val_rmse_watch"])
    assert made.loop.higher_is_better


@pytest.mark.parametrize("name", ["auc", "AUC_click", "auc_click"])
def test_a_metric_without_a_label_is_the_main_labels(name):
    made = trainer(monitor=name)
    assert made.monitor == "auc_click"


def test_a_label_with_an_underscore_is_found():
    tasks = (Task("buy"), Task("add_buy"))
    assert trainer(tasks=tasks, monitor="gauc_add_buy").monitor == "gauc_add_buy"
    assert trainer(tasks=tasks, monitor="ndcg@5_buy").monitor == "ndcg@5_buy"


def test_the_mode_of_upstream_overrules_the_metric():
    assert trainer(earlystop_mode="min").loop.higher_is_better is False


def test_loss_weights_are_not_decayed_and_not_in_the_file(tmp_path):
    """Weight decay would pull s to 0 where the losses hold it; here both losses are absent."""
    decay = {"lr": 0.1, "weight_decay": 0.5}
    made = trainer(
        tmp_path=tmp_path,
        optimizer_fn=torch.optim.SGD,
        optimizer_params=decay,
        adaptive_params={"method": "uwl", "init": 2.0},
    )
    made.fit(batches(change=lambda y: y * torch.nan))
    torch.testing.assert_close(made.weighting.log_variance.detach(), torch.full((2,), 2.0))
    saved = torch.load(tmp_path / "model_base_0.pth", weights_only=True)
    TwoTowers().load_state_dict(saved, strict=True)


def test_loss_weights_have_a_learning_rate_of_their_own(tmp_path):
    made = trainer(tmp_path=tmp_path, adaptive_params={"method": "uwl", "lr": 0.5})
    groups = made.optimization.optimizers[0].param_groups
    assert [group["lr"] for group in groups] == [0.02, 0.5]


def test_metabalance_is_balanced_to_the_task_that_tells_the_best_weights(tmp_path):
    made = trainer(tmp_path=tmp_path, earlystop_taskid="watch", adaptive_params={"method": "metabalance"})
    made.fit(batches(), batches())
    weights = made.history[["weight_click", "weight_watch"]]
    assert (weights["weight_watch"] == 1).all()
    assert (weights["weight_click"] != 1).all()


def test_types_alone_name_the_tasks_by_their_places(tmp_path):
    made = MTLTrainer(TwoTowers(), ["classification", "regression"], n_epoch=1, model_path=str(tmp_path), watcher=Ear())
    made.fit(batches(), batches())
    assert {"train_loss_0", "val_auc_0", "val_rmse_1"} <= set(made.history)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"adaptive_params": {"method": "gradnrom"}}, "unknown weighting 'gradnrom'; did you mean 'gradnorm'"),
        ({"adaptive_params": {"method": "gradnorm", "alhpa": 1}}, "no option 'alhpa'; did you mean 'alpha'"),
        ({"adaptive_params": {"method": "gradnorm", "alpha": "x"}}, "adaptive_params: alpha: expected a number"),
        ({"adaptive_params": {"alpha": 0.2}}, "adaptive_params needs the method"),
        ({"adaptive_params": {"method": "static"}}, "needs the option 'weights'"),
        ({"adaptive_params": {"method": "static", "weights": [1, 2, 3]}}, "there are 3 for 2 labels"),
        ({"adaptive_params": {"method": "metabalance", "target": "clik"}}, "target 'clik' is not a label"),
        ({"adaptive_params": {"method": "metabalance", "strategy": "reduse"}}, "did you mean 'reduce'"),
        ({"earlystop_taskid": 2}, "earlystop_taskid 2 is not a label: give its place from 0 to 1"),
        ({"earlystop_taskid": "buy"}, r"or its name \(click, watch\)"),
        ({"earlystop_mode": "best"}, "earlystop_mode must be 'max' or 'min'"),
        ({"monitor": "auc_clik"}, "neither a metric nor <metric>_<label>; did you mean 'auc_click'"),
        ({"monitor": "auc_watch"}, "auc is for classification labels, not for regression"),
        ({"monitor": {"auc_click": 1, "rmse_watch": 1}}, "lower is better for rmse_watch"),
        ({"monitor": {"auc_click": 0}}, "the weight of auc_click must be a number other than 0"),
        ({"monitor": {}}, "needs at least one metric"),
        ({"monitor": "calibration_click"}, "cannot be monitored"),
        ({"metrics": ["auk"]}, "unknown metric 'auk'"),
        ({"loss": ["bce"]}, "there are 1 losses for 2 labels"),
        ({"loss": {"wach": "mse"}}, "unknown label 'wach'; did you mean 'watch'"),
        ({"task_types": ["classification", "classification"]}, "but the labels are"),
    ],
)
def test_a_mistake_is_told(params, message, tmp_path):
    with pytest.raises(SpecError, match=message):
        trainer(tmp_path=tmp_path, **params)


def test_types_must_be_there_and_known():
    with pytest.raises(SpecError, match="MTLTrainer needs the type of each label"):
        MTLTrainer(TwoTowers())
    with pytest.raises(SpecError, match="unknown task type 'classfication'; did you mean 'classification'"):
        MTLTrainer(TwoTowers(), ["classfication", "regression"])


def test_labels_that_do_not_fit_the_model_are_told(tmp_path):
    made = trainer(tmp_path=tmp_path)
    with pytest.raises(DataError, match="there are 2 tasks: rows have 1 labels, the model predicts 2"):
        made.fit(batches(change=lambda y: y[:, :1]))
