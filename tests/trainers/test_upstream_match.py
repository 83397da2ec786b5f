"""MatchTrainer on modules of torch-rechub's convention: a dict in, scores out."""

import math

import pytest
import torch
from match_toys import GROUPS, ITEMS, Foreign, catalogue, pairs
from torch import nn

from rechub_cli import MatchTrainer
from rechub_cli.errors import DataError, SpecError


@pytest.fixture(autouse=True)
def _seed_and_folder(tmp_path, monkeypatch):
    torch.manual_seed(0)
    monkeypatch.chdir(tmp_path)


def trainer(model, mode=0, **options):
    return MatchTrainer(model, mode, **({"optimizer_params": {"lr": 0.05}, "n_epoch": 6, "seed": 1} | options))


def right(model):
    """Share of the best six items of each group that are its own."""
    with torch.no_grad():
        scores = model.user_tower({"group": torch.arange(GROUPS)}) @ model.item_tower({"item": torch.arange(ITEMS)}).T
    return (scores.topk(6, 1).indices % GROUPS == torch.arange(GROUPS)[:, None]).float().mean()


def test_mode_0_is_probabilities_and_auc():
    one = trainer(Foreign(), n_epoch=10)
    one.fit(pairs(labelled=True), pairs(2, labelled=True))
    assert one.monitor == "auc"
    assert one.evaluate(one.model, pairs(2, labelled=True)) > 0.95
    scores = one.predict(one.model, pairs(2, labelled=True))
    assert len(scores) == 128
    assert all(0 < score < 1 for score in scores)


def test_mode_1_is_pairs_and_the_share_in_order():
    one = trainer(Foreign("pairs"), 1)
    one.fit(pairs(), pairs(2))
    assert one.monitor == "pair_accuracy"
    assert one.evaluate(one.model, pairs(2)) > 0.95
    assert one.history["val_pair_accuracy"].iloc[0] < one.history["val_pair_accuracy"].iloc[-1]
    assert len(one.predict(one.model, pairs(2))) == 128


def test_pairs_need_no_labels():
    one = trainer(Foreign("pairs"), 1)
    one.fit([x for x, _ in pairs()], [x for x, _ in pairs(2)])
    assert one.evaluate(one.model, pairs(2)) > 0.95


def test_mode_2_is_a_list_and_its_loss():
    one = trainer(Foreign("list"), 2)
    one.fit(pairs(), pairs(2))
    assert one.monitor == "loss"
    losses = one.history["val_loss"]
    assert losses.iloc[-1] < 0.3 * losses.iloc[0]
    assert one.evaluate(one.model, pairs(2)) == pytest.approx(losses.min())
    assert len(one.predict(one.model, pairs(2))[0]) == 4


def test_y_says_which_logit_is_right():
    class Reversed(Foreign):
        def forward(self, x):
            return super().forward(x).flip(1)

    one = trainer(Reversed("list"), 2)
    made = [(x, torch.full((64,), 3)) for x, _ in pairs()]
    one.fit(made, made)
    assert one.evaluate(one.model, made) < 0.3
    with pytest.raises(DataError, match="y is the column of the right logit, below 4 here"):
        one.fit([(x, y + 1) for x, y in made])


def test_the_right_logit_may_be_an_id_that_no_float32_holds():
    class Wide(nn.Module):
        def __init__(self):
            super().__init__()
            self.logit = nn.Parameter(torch.zeros(1))

        def forward(self, x):
            logits = torch.zeros(1, 1).expand(len(x["a"]), 2**24 + 2).clone()
            logits[:, 2**24 + 1] += self.logit
            return logits

    one = trainer(Wide(), 2, n_epoch=1)
    one.fit([({"a": torch.zeros(1)}, torch.tensor([2**24 + 1]))])
    assert one.model.logit > 0


@pytest.mark.parametrize("mode", [0, 1, 2])
@pytest.mark.parametrize("options", [{}, {"in_batch_neg_ratio": 20}, {"in_batch_neg_ratio": 8, "hard_negative": True}])
def test_negatives_of_the_batch_in_every_mode(mode, options):
    one = trainer(Foreign(), mode, in_batch_neg=True, n_epoch=15, **options)
    one.fit(pairs())
    assert right(one.model) > 0.9


def test_rows_of_one_item_are_no_negatives_of_each_other():
    x = {"group": torch.tensor([0, 0, 1]), "item": torch.tensor([4, 4, 5]), "bad": torch.zeros(3, 3, dtype=torch.int64)}
    model = Foreign()
    one = trainer(model, 2, in_batch_neg=True)
    with torch.no_grad():
        scores = model.user_tower(x) @ model.item_tower(x).T / 0.2
        own = scores.diagonal()
        others = torch.stack([scores[0, 2].exp(), scores[1, 2].exp(), scores[2, :2].exp().sum()])
        want = ((own.exp() + others).log() - own).mean()
    assert one.step((x, torch.zeros(3)))[0].item() == pytest.approx(want.item(), rel=1e-5)


def test_the_same_item_is_told_by_its_columns_where_vectors_differ():
    class Noisy(Foreign):
        item_features = ("item",)

        def item_tower(self, x, name="item"):
            return super().item_tower(x, name) + 1e-3 * torch.rand(len(x[name]), 8)

    x = {"group": torch.tensor([0, 0]), "item": torch.tensor([4, 4]), "bad": torch.zeros(2, 3, dtype=torch.int64)}
    loss, _ = trainer(Noisy(), 2, in_batch_neg=True).step((x, torch.zeros(2)))
    assert loss.item() == 0  # there is no other item


def test_validation_in_batches_is_by_mode():
    for mode, name, good in ((1, "pair_accuracy", lambda v: v > 0.85), (2, "loss", lambda v: v < 3)):
        one = trainer(Foreign(), mode, in_batch_neg=True)
        one.fit(pairs(), pairs(2))
        assert one.monitor == name
        assert good(one.evaluate(one.model, pairs(2)))


def test_a_last_batch_of_one_row_trains():
    made = [*pairs(2), *((({k: v[:1] for k, v in x.items()}), y[:1]) for x, y in pairs(1))]
    for mode, returns, options in ((1, "pairs", {}), (2, "list", {}), (2, "list", {"in_batch_neg": True})):
        one = trainer(Foreign(returns), mode, n_epoch=2, **options)
        one.fit(made, made)
        assert math.isfinite(one.history["train_loss"].iloc[-1])


def test_vectors_and_the_model_as_it_was_found(tmp_path):
    one = trainer(Foreign("list"), 2)
    one.fit(pairs(), pairs(2))
    before = {name: value.clone() for name, value in one.model.state_dict().items()}
    one.model.train()
    x_only = [x for x, _ in pairs(2)]
    users = one.inference_embedding(one.model, "user", x_only, str(tmp_path))
    items = one.inference_embedding(one.model, "item", pairs(2))
    assert users.shape == items.shape == (128, 8)
    torch.testing.assert_close(users, one.model.user_tower({"group": torch.cat([x["group"] for x in x_only])}))
    assert one.model.mode is None
    assert one.model.training
    assert all(torch.equal(value, before[name]) for name, value in one.model.state_dict().items())
    one.fit(pairs(), pairs(2))  # upstream's cannot


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: trainer(nn.Linear(1, 1), in_batch_neg=True), "needs a module with user_tower"),
        (lambda: trainer(Foreign(), negatives="uniform"), "Foreign has no catalogue"),
        (lambda: trainer(Foreign(), catalogue=catalogue()), "a catalogue needs a model with embed_users"),
        (lambda: trainer(Foreign("list"), 2, monitor="auc"), "mode 2 is measured by pair_accuracy or loss, not auc"),
        (lambda: trainer(Foreign("list"), 1).fit(pairs()), r"returns a tensor of shape \(64, 4\); mode 1 needs"),
        (lambda: trainer(Foreign("pairs"), 2).fit(pairs()), "returns a tuple; mode 2 needs"),
        (lambda: trainer(nn.Linear(1, 1)).inference_embedding(nn.Linear(1, 1), "user", []), "has no attribute `mode`"),
    ],
)
def test_what_does_not_fit_is_told(make, message):
    with pytest.raises(SpecError, match=message):
        make()
