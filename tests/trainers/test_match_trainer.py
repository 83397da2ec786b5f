"""MatchTrainer on a model of ours: every mode, every kind of negatives, and what it leaves behind."""

import math

import pytest
import torch
from match_toys import GROUPS, ITEMS, SCHEMA, Shuffled, TwoTowers, catalogue, loader, rows
from trainer_toys import Ear, Keeper

from rechub_cli import MatchTrainer
from rechub_cli.batch import Batch, Jagged
from rechub_cli.errors import DataError, NoInput, SpecError
from rechub_cli.nn.candidates import Candidates

RANDOM = 6 / 24  # recall of chance: ten of 24 items are shown, six of them are right at best


@pytest.fixture(autouse=True)
def _seed_and_folder(tmp_path, monkeypatch):
    torch.manual_seed(0)
    monkeypatch.chdir(tmp_path)


def trainer(model=None, **options):
    options = {"optimizer_params": {"lr": 0.05}, "n_epoch": 4, "catalogue": catalogue(), "seed": 1} | options
    return MatchTrainer(model or TwoTowers(), monitor="precision@6", **options)


def groups_of_top(one, batch):
    scores = one.model.embed_users(batch) @ one.model.embed_items(catalogue().batch).T
    return scores.topk(6, 1).indices % GROUPS


@pytest.mark.parametrize("mode", ["pointwise", "pairwise", "listwise"])
@pytest.mark.parametrize(
    "negatives",
    ["in_batch", "uniform", "popularity", "mixed", "full", "given", ("uniform", {"n": 4, "per": "query"})],
)
def test_every_mode_learns_the_taste_from_every_kind_of_negatives(mode, negatives):
    one = trainer(mode=mode, negatives=negatives, n_epoch=8)
    one.fit(loader(), loader(2))
    batch = rows(seed=9)
    right = groups_of_top(one, batch) == (batch.sparse - 3)
    # The given negatives are of one other group: nothing tells the two further groups apart.
    assert right.float().mean() > (0.55 if negatives == "given" else 0.95)
    assert one.history["train_loss"].iloc[-1] < one.history["train_loss"].iloc[0]


@pytest.mark.parametrize(("loss", "mode"), [("gbce", 0), ("hinge", 1), ("softmax", 2)])
def test_a_loss_says_its_mode(loss, mode):
    one = trainer(loss=loss, negatives=("uniform", {"n": 12}), n_epoch=12)
    assert one.mode == mode
    one.fit(loader(), loader(2))
    assert one.evaluate(one.model, loader(2)) > 0.15  # 1/6 is all that one target among six right items can reach
    with pytest.raises(SpecError, match=f"loss {loss} is of mode {mode}, not of mode {(mode + 1) % 3}"):
        trainer(loss=loss, mode=(mode + 1) % 3)


def test_labelled_rows_are_learnt_as_labelled():
    drawn = []

    class Draws(TwoTowers):
        negatives = type("Spy", (), {"hard": None, "bind": lambda *_: None, "draw": lambda *_, **__: drawn.append(1)})()

    one = trainer(Draws(), mode=0, n_epoch=8)
    one.fit(loader(labelled=True), loader(2))
    assert not drawn
    batch = rows(seed=9)
    assert (groups_of_top(one, batch) == (batch.sparse - 3)).float().mean() > 0.95


def test_a_label_of_0_teaches_the_opposite():
    def learnt(label):
        batches = [
            Batch(b.sparse, b.dense, b.sequences, torch.full((64, 1), label), b.targets) for b in loader(labelled=False)
        ]
        one = trainer(mode=0)
        one.fit(batches)
        return torch.tensor(one.predict(one.model, [rows(seed=9)])).mean()

    assert learnt(1.0) > 1 > -1 > learnt(0.0)


def test_rows_count_by_their_weight():
    weights = torch.ones(64)
    weights[32:] = 0
    some = [rows(seed=seed, weights=weights) for seed in range(4)]
    half = [b.slice(0, 32) for b in some]
    losses = []
    for batches in (some, half):  # `full`: the candidates do not depend on the batch
        one = trainer(negatives="full")
        one.fit(batches)
        losses.append(one.history["train_loss"].iloc[-1])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_temperature_has_an_effect_on_training_and_none_on_vectors():
    first = [trainer(TwoTowers(temperature), n_epoch=1).step(rows())[0].item() for temperature in (1.0, 0.05)]
    assert abs(first[0] - first[1]) > 0.1
    cold, warm = TwoTowers(0.05), TwoTowers(1.0)
    assert torch.equal(cold.embed_items(catalogue().batch), warm.embed_items(catalogue().batch))
    ratio = trainer(cold).predict(cold, [rows()])[0] / trainer(warm).predict(warm, [rows()])[0]
    assert ratio == pytest.approx(20)


@pytest.mark.parametrize("negatives", ["in_batch", ("popularity", {"n": 12}), ("mixed", {"n": 12})])
def test_the_correction_of_likely_items_is_not_divided_by_the_temperature(negatives):
    """A tenth of the temperature and ten times the users' vectors are the same logits, less the same log q."""
    losses, seen = [], catalogue(counts=torch.arange(ITEMS) ** 2 + 1)
    for temperature, scale in ((0.1, 1.0), (1.0, 10.0)):
        model = TwoTowers(temperature)
        model.users.weight.data *= scale
        losses.append(trainer(model, negatives=negatives, catalogue=seen).step(rows())[0].item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    even = trainer(TwoTowers(0.1), negatives=negatives, catalogue=catalogue()).step(rows())[0].item()
    assert abs(even - losses[0]) > 0.01, "what training chose often weighs the candidates"


class Drawn:
    """A sampler of the same three candidates at every step, one of which was drawn on purpose ten times as often."""

    hard = None
    candidates = Candidates(torch.tensor([1, 4, 7]), torch.tensor([1.0, 10.0, 1.0]).log())

    def bind(self, counts, seed, schema):
        pass

    def draw(self, positives, batch, *, epoch, step):
        return self.candidates


def test_candidates_that_are_drawn_often_count_for_less():
    model, batch = TwoTowers(0.5), rows()
    own = batch.targets.values[:, 1].long()
    with torch.no_grad():
        vectors = model.embed_items(catalogue().batch)
        logits = model.embed_users(batch) @ vectors.T / 0.5
    drawn = logits[:, Drawn.candidates.places] - Drawn.candidates.log_q
    drawn = drawn.masked_fill(Drawn.candidates.places == own[:, None], -torch.inf)
    wanted = torch.nn.functional.softplus(drawn.logsumexp(1) - logits.gather(1, own[:, None])[:, 0]).mean()
    assert trainer(model, negatives=Drawn()).step(batch)[0].item() == pytest.approx(wanted.item(), rel=1e-5)


def test_a_learned_temperature_learns():
    model = TwoTowers()
    model.temperature = torch.nn.Parameter(torch.tensor(1.0))
    ear = Ear()
    trainer(model, watcher=ear).fit(loader(), loader(2))
    assert model.temperature.item() < 0.9
    told = [float(text.split()[1]) for _, event, text in ear.messages if event == "temperature"]
    assert len(told) == 4
    assert told[0] > told[-1]


def test_the_best_weights_are_kept_though_no_epoch_stopped_early(tmp_path):
    one = trainer(n_epoch=4, optimizer_params={"lr": 3.0})
    one.fit(loader(), loader(2))
    best = one.history["val_precision@6"].max()
    assert one.evaluate(one.model, loader(2)) == pytest.approx(best)
    fresh = TwoTowers()
    fresh.load_state_dict(torch.load(tmp_path / "model.pth", weights_only=True))
    assert one.evaluate(fresh, loader(2)) == pytest.approx(best)


@pytest.mark.parametrize("negatives", ["uniform", "mixed", ("in_batch", {"n": 20})])
def test_a_resumed_training_ends_with_the_same_weights(negatives):
    options = {"negatives": negatives, "n_epoch": 3, "sampler_seed": 7}
    whole = trainer(TwoTowers(dropout=0.2), checkpoints=Keeper(), **options)
    whole.fit(Shuffled(), loader(2))

    keeper = Keeper()
    part = trainer(TwoTowers(dropout=0.2), checkpoints=keeper, watcher=Ear(stop_at=17), **options)
    with pytest.raises(Exception, match="stopped by SIGTERM"):
        part.fit(Shuffled(), loader(2))
    last = keeper.saved[-1]
    assert 0 < last["step"] < 18

    torch.manual_seed(99)
    model = TwoTowers(dropout=0.2)
    model.load_state_dict(last["weights"])
    rest = trainer(model, checkpoints=keeper, **options)
    rest.load_state(last["state"])
    rest.fit(Shuffled(), loader(2))
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, rest.model.state_dict()[name]), name


def test_gradients_of_many_rows_repeat_to_the_bit_on_several_threads():
    """Many rows have the same item: no two threads may add to its gradient in whichever order they come."""
    model, batch = TwoTowers(), rows(8192, labelled=True)
    one = trainer(model, mode=0)

    def gradients():
        loss, n = one.towers.retrieval.learn(batch, 0, 0)
        assert n == 8192
        return torch.autograd.grad(loss, [model.users.weight, model.items.weight])

    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        first, *others = (gradients() for _ in range(6))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(one, other) for again in others for one, other in zip(first, again, strict=True))


def test_the_seed_of_the_sampler_decides_the_negatives():
    def weights(sampler_seed):
        one = trainer(negatives=("uniform", {"n": 5}), sampler_seed=sampler_seed)
        one.fit(loader(2))
        return one.model.items.weight

    assert torch.equal(weights(3), weights(3))
    assert not torch.equal(weights(3), weights(4))


def test_upstreams_words_for_negatives_of_the_batch():
    sampler = trainer(in_batch_neg=True, in_batch_neg_ratio=5).towers.retrieval.sampler
    assert (type(sampler).__name__, sampler.n, sampler.hard) == ("InBatch", 5, None)
    sampler = trainer(in_batch_neg=True, in_batch_neg_ratio=5, hard_negative=True).towers.retrieval.sampler
    assert (sampler.n, sampler.hard) == (None, 5)
    with pytest.raises(SpecError, match="in_batch_neg is one kind of negatives"):
        trainer(in_batch_neg=True, negatives="uniform")


def test_bf16_learns_the_same():
    one = trainer(precision="bf16", n_epoch=8)
    one.fit(loader(), loader(2))
    batch = rows(seed=9)
    assert (groups_of_top(one, batch) == (batch.sparse - 3)).float().mean() > 0.95


def test_several_interests_are_learnt_through_the_one_that_suits_the_item():
    one = trainer(TwoTowers(interests=2), n_epoch=8)
    one.fit(loader(), loader(2))
    assert one.evaluate(one.model, loader(2)) > 0.15
    scores = one.predict(one.model, [rows(seed=9)])
    assert scores == pytest.approx(
        one.model(rows(seed=9), catalogue().batch.take(rows(seed=9).targets.values[:, 1].long())).logits[:, 0].tolist(),
        rel=1e-5,
    )


def test_an_item_outside_the_catalogue_has_no_score_and_is_a_miss():
    batch = rows(4)
    targets = Jagged(torch.tensor([[1, -1], [1, 0], [1, 1], [1, 2]], dtype=torch.int32), batch.targets.offsets)
    batch = Batch(batch.sparse, batch.dense, batch.sequences, targets=targets)
    one = trainer()
    assert [math.isnan(score) for score in one.predict(one.model, [batch])] == [True, False, False, False]


def test_vectors_come_from_the_model_as_it_is_or_from_a_file(tmp_path):
    one = trainer(TwoTowers(dropout=0.5))
    one.fit(loader(2))
    model = one.model.train()
    trained = model.items.weight.detach().clone()
    saved = one.inference_embedding(model, "item", [catalogue().batch], str(tmp_path))
    with torch.no_grad():
        model.items.weight.zero_().add_(1.0)
    assert model.training
    assert torch.equal(one.inference_embedding(model, "item"), torch.full((ITEMS, 8), 8**-0.5))
    assert torch.equal(one.inference_embedding(model, "item", None, str(tmp_path)), saved)
    assert torch.equal(saved, torch.nn.functional.normalize(trained[3:], dim=1))
    assert model.items.weight.eq(1).all()
    users = one.inference_embedding(model, "user", [rows(40), rows(2)])
    assert users.shape == (42, 8)
    with pytest.raises(NoInput, match=r"there is no file .*nowhere.model\.pth"):
        one.inference_embedding(model, "item", None, "nowhere")
    with pytest.raises(SpecError, match='mode must be "user" or "item"'):
        one.inference_embedding(model, "both")


class Cumulative(torch.nn.Module):
    """A sequential model whose state is the mean of what came before."""

    schema, sequential, mode, negatives, loss = SCHEMA, True, 2, "full", "softmax"

    def __init__(self):
        super().__init__()
        self.items = torch.nn.Embedding(ITEMS, 8)

    def embed_items(self, batch):
        return self.items(batch.sparse[:, 0] - 3)

    def embed_users(self, batch):
        history = batch.sequences["hist"]
        sums = torch.zeros(len(batch), 8).index_add(0, history.rows, self.items(history.values))
        return sums / history.lengths[:, None].clamp_min(1)

    def encode_positions(self, batch):
        history, targets = batch.sequences["hist"], batch.targets
        running = torch.cat([torch.zeros(1, 8), self.items(history.values).cumsum(0)])
        start, before = history.offsets[targets.rows], targets.values[:, 0]
        return (running[start + before] - running[start]) / before[:, None]


def sessions(values, offsets, targets, starts):
    history = Jagged(torch.tensor(values, dtype=torch.int32), torch.tensor(offsets))
    n = len(offsets) - 1
    jagged = Jagged(torch.tensor(targets, dtype=torch.int32), torch.tensor(starts))
    return Batch(torch.zeros(n, 0, dtype=torch.int32), torch.zeros(n, 0), {"hist": history}, targets=jagged)


def test_all_prefixes_of_a_user_are_learnt_in_one_pass_as_if_they_were_rows():
    together = sessions([5, 6, 7, 1], [0, 3, 4], [[1, 6], [2, 7], [3, 8], [1, 2]], [0, 3, 4])
    apart = sessions([5, 5, 6, 5, 6, 7, 1], [0, 1, 3, 6, 7], [[1, 6], [2, 7], [3, 8], [1, 2]], [0, 1, 2, 3, 4])
    model = Cumulative()
    one = trainer(model)
    gradients = []
    for batch in (together, apart):
        model.zero_grad()
        loss, n = one.towers.learn(batch, 0, 0)
        loss.backward()
        gradients.append((loss.item(), model.items.weight.grad.clone()))
        assert n == 4
    assert gradients[0][0] == pytest.approx(gradients[1][0])
    assert torch.allclose(gradients[0][1], gradients[1][1], atol=1e-6)


def test_a_user_without_a_past_is_learnt_too():
    empty = sessions([5], [0, 0, 1], [[0, 6], [1, 7]], [0, 1, 2])
    assert trainer(Cumulative()).towers.learn(empty, 0, 0)[0].isfinite()


def test_a_model_of_whole_histories_refuses_several_targets_a_row():
    batch = rows(2)
    targets = Jagged(torch.tensor([[1, 2], [2, 3], [1, 0]], dtype=torch.int32), torch.tensor([0, 2, 3]))
    with pytest.raises(DataError, match="TwoTowers reads a whole history at once"):
        trainer().step(Batch(batch.sparse, batch.dense, batch.sequences, targets=targets))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"catalogue": None}, "TwoTowers learns from a catalogue"),
        ({"mode": 3}, "mode must be 0"),
        ({"mode": "pairwize"}, "mode must be 0"),
        ({"negatives": "unifrom"}, "unknown sampler 'unifrom'; did you mean 'uniform'"),
        ({"negatives": ("uniform", {"m": 3})}, "negatives: sampler 'uniform' has no option 'm'"),
        ({"negatives": {"n": 3}}, "negatives: say which sampler"),
        ({"negatives": ("uniform", {"n": 0})}, "negatives: n must be at least 1, not 0"),
        ({"negatives": ("full", {"hard": -1})}, "negatives: hard must be at least 1, not -1"),
        ({"loss": "sofmax"}, "unknown retrieval loss 'sofmax'; did you mean 'softmax'"),
        ({"loss_params": {"logq": True}}, "did you mean 'log_q'"),
        ({"precision": "fp16"}, "precision must be fp32 or bf16"),
    ],
)
def test_a_parameter_without_meaning_is_told(options, message):
    with pytest.raises(SpecError, match=message):
        trainer(**options)


def test_rows_without_targets_are_told():
    with pytest.raises(DataError, match="the batches have no targets"):
        trainer().fit([Batch(rows().sparse, torch.zeros(64, 0))])
