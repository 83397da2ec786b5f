"""What users do at the edges of the API: odd paths, odd losses, odd loaders, odd schedulers."""

import json
import math
from collections import Counter

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler
from trainer_toys import Constant, Ear, Foreign, Keeper, Native, Scripted, Shuffled, batch, batches, pairs

from rechub_cli import CTRTrainer, plugins
from rechub_cli.batch import Output
from rechub_cli.errors import DataError, Interrupted, SpecError
from rechub_cli.schema import Feature, Schema, Task
from rechub_cli.trainers.state import flatten, unflatten


@pytest.fixture(autouse=True)
def _seed_and_folder(tmp_path, monkeypatch):
    torch.manual_seed(0)
    monkeypatch.chdir(tmp_path)


def through_json(state):
    """As a checkpoint keeps it: tensors apart, the rest as strict JSON."""
    tensors = {name: value for name, value in state.items() if isinstance(value, torch.Tensor)}
    rest = {name: value for name, value in state.items() if name not in tensors}
    return tensors | json.loads(json.dumps(rest, allow_nan=False))


def with_table(**options):
    schema = Schema((Feature("item", "sparse", 4, 10),), (Task("click"),))
    return CTRTrainer(plugins.load("models", "mlp")(schema, hidden_dims=[4]), **options)


def test_rows_of_weight_zero_count_in_no_metric():
    metrics = ["auc", "accuracy", "ne", "gauc", "ndcg", "rmse", "f1", "ece", "logloss"]
    trainer = CTRTrainer(Constant(1.0), metrics=metrics)
    x, y, group = torch.zeros(4, 3), torch.tensor([1.0, 0.0, 1.0, 0.0]), torch.zeros(4, dtype=torch.int64)
    some = trainer.evaluate_metrics(trainer.model, [batch(x, y, torch.tensor([1.0, 1.0, 1.0, 0.0]), group)])
    assert some == trainer.evaluate_metrics(trainer.model, [batch(x[:3], y[:3], torch.ones(3), group[:3])])
    none = trainer.evaluate_metrics(trainer.model, [batch(x, y, torch.zeros(4), group)])
    assert all(math.isnan(value) for value in none.values())


def test_a_model_path_may_name_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    CTRTrainer(Foreign(), n_epoch=1, model_path="~/models").fit(pairs())
    assert (tmp_path / "home" / "models" / "model.pth").exists()


def test_no_patience_stops_at_the_first_epoch_that_is_not_better():
    trainer = CTRTrainer(Constant(), n_epoch=5, earlystop_patience=0, monitor=Scripted([0.6, 0.7, 0.5]))
    trainer.fit(batches(), batches())
    assert list(trainer.history["val_scripted"]) == [0.6, 0.7, 0.5]


def test_the_other_loss_may_have_one_element_or_one_for_each_replica():
    class WithPenalty(Foreign):
        def forward(self, x):
            return super().forward(x), 100 * self.out.bias.square().expand(2)

    trainer = CTRTrainer(WithPenalty(), optimizer_params={"lr": 0.05}, n_epoch=4, loss_mode=False)
    trainer.fit(pairs(), pairs(seed=1))
    assert abs(trainer.model.out.bias.item()) < 0.02


def test_the_extras_of_a_lone_row_are_one_row():
    class Extra(Foreign):
        def forward(self, x):
            return Output(self.out(self.layers(x["x"])), extras={"first": x["x"][:, 0]})

    trainer = CTRTrainer(Extra())
    out = list(trainer.predict_batches(trainer.model, pairs(n=65)))
    assert [extras["first"].shape for _, extras, _ in out] == [(64,), (1,)]


def test_a_foreign_module_learns_a_number():
    class Linear(nn.Module):
        def __init__(self):
            super().__init__()
            self.out = nn.Linear(3, 1)

        def forward(self, x):
            return self.out(x["x"])

    loader = [(x, 3 * x["x"].sum(1) + 2) for x, _ in pairs()]
    trainer = CTRTrainer(Linear(), optimizer_params={"lr": 0.1}, n_epoch=30, tasks=[Task("price", "regression")])
    trainer.fit(loader, loader)
    assert trainer.evaluate(trainer.model, loader) < 0.1


def test_negative_rate_corrects_probabilities_too():
    class Probability(nn.Module):
        def __init__(self):
            super().__init__()
            self.logit = nn.Parameter(torch.zeros(()))

        def forward(self, batch):
            return self.logit.sigmoid().expand(len(batch))

    loader = [batch(torch.zeros(190, 3), torch.cat([torch.ones(100), torch.zeros(90)]))]
    task = Task("click", negative_rate=0.1)  # of 10 % positives, 1000 rows of the world leave 100 + 90
    trainer = CTRTrainer(Probability(), optimizer_params={"lr": 0.1}, tasks=[task])
    for _ in range(300):
        trainer.train_one_epoch(loader)
    assert trainer.predict(trainer.model, loader)[0] == pytest.approx(0.1, abs=0.002)


def test_a_loader_that_can_be_read_only_once_is_told():
    with pytest.raises(DataError, match=r"nothing in epoch 2: .* more than once"):
        CTRTrainer(Foreign(), n_epoch=2).fit(part for part in pairs())


def test_a_wrong_key_of_the_embedding_optimizer_is_told():
    with pytest.raises(SpecError, match="embedding_optimizer: 'nme' is not known; known: name, lr, l2"):
        with_table(embedding_optimizer={"nme": "lazy_adam"})


def test_a_validation_that_was_interrupted_within_an_epoch_is_made_up_for():
    def trainer(stop_at=None):
        torch.manual_seed(5)
        return CTRTrainer(Native(), n_epoch=2, eval_every_steps=3, watcher=Ear(stop_at), checkpoints=Keeper())

    whole, stopped, resumed = trainer(), trainer(stop_at=5), trainer()  # polls: 3 steps, then 7 batches of validation
    whole.fit(Shuffled(), batches(seed=1))
    with pytest.raises(Interrupted):
        stopped.fit(Shuffled(), batches(seed=1))
    saved = stopped.checkpoints.saved[-1]
    resumed.model.load_state_dict(saved["weights"])
    resumed.load_state(through_json(saved["state"]))
    resumed.fit(Shuffled(), batches(seed=1))
    assert list(whole.history["step"]) == [3, 6, 7, 9, 12, 14]
    timing = ["seconds", "rows_per_s"]
    assert whole.history.drop(columns=timing).equals(resumed.history.drop(columns=timing))


def test_a_scheduler_whose_state_is_no_data_trains_where_nothing_is_kept_for_resuming():
    class Halves(lr_scheduler.LRScheduler):
        def __init__(self, optimizer):
            self.secret = object()
            super().__init__(optimizer)

        def get_lr(self):
            return [group["lr"] / 2 for group in self.optimizer.param_groups]

    trainer = CTRTrainer(Foreign(), scheduler_fn=Halves, n_epoch=2)
    trainer.fit(pairs())
    assert trainer.history["lr"].is_monotonic_decreasing


def test_milestones_are_counts_again_after_a_resume():
    counts = unflatten("state", through_json(flatten("state", {"milestones": Counter({1: 2, 3: 1})})))["milestones"]
    assert sorted(counts.elements()) == [1, 1, 3]


def test_one_cycle_by_epoch_spans_the_epochs():
    params = {"max_lr": 0.1, "pct_start": 0.5, "step": "epoch"}
    trainer = CTRTrainer(Constant(), scheduler_fn=lr_scheduler.OneCycleLR, scheduler_params=params, n_epoch=5)
    trainer.fit(batches())
    assert trainer.history["lr"].iloc[-1] < 1e-5 < trainer.history["lr"].max()


@pytest.mark.parametrize("name", ["rowwise_adagrad", "same"])
def test_a_cycle_keeps_the_proportion_of_the_embeddings_learning_rate(name):
    trainer = with_table(
        optimizer_params={"lr": 1e-3},
        embedding_optimizer={"name": name, "lr": 2e-2},
        scheduler_fn=lr_scheduler.OneCycleLR,
        scheduler_params={"max_lr": 5e-3, "total_steps": 10},
    )
    trainer.optimization.start(1, 10, True)
    groups = [group for optimizer in trainer.optimization.optimizers for group in optimizer.param_groups]
    assert [group["max_lr"] for group in groups] == pytest.approx([5e-3, 1e-1])


def test_state_of_a_module_that_is_no_tensor_is_saved():
    class WithExtra(Foreign):
        def get_extra_state(self):
            return {"version": 1}

        def set_extra_state(self, state):
            assert state == {"version": 1}

    trainer = CTRTrainer(WithExtra(), n_epoch=2, monitor=Scripted([0.6, 0.5]))
    trainer.fit(pairs(), pairs())
    assert torch.load("model.pth", weights_only=True)["_extra_state"] == {"version": 1}
