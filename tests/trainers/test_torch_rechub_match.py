"""Torch-RecHub's own retrieval models, unchanged, under our MatchTrainer."""

import warnings

import pytest
import torch
from trainer_toys import Ear

from rechub_cli import MatchTrainer

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    matching = pytest.importorskip("torch_rechub.models.matching", reason="needs the torch-rechub extra")
    from torch_rechub.basic.features import SequenceFeature, SparseFeature

GROUPS, ITEMS, LENGTH, DIM, ROWS = 4, 24, 6, 8, 64  # item i + 1 is of group i % 4


def user():
    return [SparseFeature("group", vocab_size=GROUPS + 1, embed_dim=DIM)]


def item(name="item", **options):
    return SparseFeature(name, vocab_size=ITEMS + 1, embed_dim=DIM, **options)


def items(name, pooling="concat", **options):
    options = {"shared_with": "item", "padding_idx": 0} | options
    return SequenceFeature(name, vocab_size=ITEMS + 1, embed_dim=DIM, pooling=pooling, **options)


def mlp():
    return {"dims": [16, DIM]}


def youtube_sbc():
    weight = SparseFeature("weight", vocab_size=2, embed_dim=1)
    model = matching.YoutubeSBC(user(), [item()], [weight], mlp(), mlp(), ROWS, n_neg=8, temperature=0.1)
    torch.nn.init.ones_(model.embedding.embed_dict["weight"].weight)  # it has log(weight): all items alike
    return model


def sine():
    names = (["hist"], ["item"], ["bad"])
    return matching.SINE(*names, ITEMS + 1, DIM, 16, num_concept=4, num_intention=2, seq_max_len=LENGTH)


def interests(model, **options):
    return model([*user()], [items("hist")], [item()], [items("bad")], temperature=0.1, interest_num=2, **options)


# name -> model, mode
# Not ComirecDR: its routing weights are whatever the memory holds, and now and then that is no number.
CALLED = {
    "DSSM": (lambda: matching.DSSM(user(), [item()], mlp(), mlp()), 0),
    "FaceBookDSSM": (
        lambda: matching.FaceBookDSSM(user(), [item()], [item("other", shared_with="item")], mlp(), mlp()),
        1,
    ),
    "YoutubeDNN": (
        lambda: matching.YoutubeDNN([*user(), items("hist", "mean")], [item()], [items("bad")], mlp(), 0.1),
        2,
    ),
    "YoutubeSBC": (youtube_sbc, 2),
    "MIND": (lambda: interests(matching.MIND, max_length=LENGTH), 2),
    "ComirecSA": (lambda: interests(matching.ComirecSA), 2),
    "SINE": (sine, 2),
    "NARM": (lambda: matching.NARM(items("hist"), 16, 0.0, 0.0), 2),
    "STAMP": (lambda: matching.STAMP(items("hist"), 0.05, 0.1), 2),
    "SASRec": (lambda: matching.SASRec([items("seq", shared_with=None)] * 3, LENGTH, 0.0), 1),
}
BATCHED = {
    **{name: CALLED[name] for name in ("DSSM", "FaceBookDSSM", "YoutubeDNN", "MIND", "ComirecSA", "SINE")},
    "GRU4Rec": (lambda: matching.GRU4Rec(user(), [items("hist")], [item()], [items("bad")], mlp(), 0.1), 2),
    "NARM": (lambda: matching.NARM(items("hist"), 16, 0.0, 0.0, item_feature=item()), 2),
    "STAMP": (lambda: matching.STAMP(items("hist"), 0.05, 0.1, item_feature=item()), 2),
}


def rows(seed, name):
    generator = torch.Generator().manual_seed(seed)

    def of(group, *shape):
        return 1 + group + GROUPS * torch.randint(0, ITEMS // GROUPS, shape, generator=generator)

    group = torch.randint(0, GROUPS, (ROWS,), generator=generator)
    wrong = (group + torch.randint(1, GROUPS, (ROWS,), generator=generator)) % GROUPS
    x = {"group": group + 1, "hist": of(group[:, None], ROWS, LENGTH), "item": of(group, ROWS)}
    x |= {"bad": of(wrong[:, None], ROWS, 3), "other": of(wrong, ROWS), "weight": torch.ones(ROWS, dtype=torch.int64)}
    y = torch.zeros(ROWS)
    if name == "DSSM":  # half the rows are labelled 0
        y[: ROWS // 2] = 1
        x["item"] = torch.where(y.bool(), x["item"], x["other"])
    if name in ("NARM", "STAMP"):
        y = x["item"]
    if name == "SASRec":
        x = {"seq": x["hist"], "pos": of(group[:, None], ROWS, LENGTH), "neg": of(wrong[:, None], ROWS, LENGTH)}
    return x, y


def learnt(make, mode, loader, tmp_path, **options):
    torch.manual_seed(0)
    ear = Ear()
    one = MatchTrainer(
        make(),
        mode,
        optimizer_params={"lr": 0.01},
        n_epoch=12,
        earlystop_patience=12,
        model_path=str(tmp_path),
        watcher=ear,
        seed=0,
        **options,
    )
    one.fit(loader, loader)
    assert ear.epochs[-1].train_loss < 0.9 * ear.epochs[0].train_loss
    fresh = make()
    fresh.load_state_dict(torch.load(tmp_path / "model.pth", weights_only=True))
    return one, fresh


@pytest.mark.parametrize("name", CALLED)
def test_upstreams_model_trains_as_it_is_called(name, tmp_path):
    make, mode = CALLED[name]
    loader = [rows(seed, name) for seed in range(4)]
    if name == "SASRec":  # its three columns are read by their places
        make = _sasrec
    one, fresh = learnt(make, mode, loader, tmp_path)
    assert one.monitor == ("auc", "pair_accuracy", "loss")[mode]
    value = one.evaluate(one.model, loader)
    assert value > 0.8 if mode < 2 else value < 2.5
    scores = one.predict(one.model, loader)
    assert len(scores) == 4 * ROWS
    if name != "MIND":  # its routing starts from random numbers
        assert one.predict(fresh, loader) == scores


@pytest.mark.parametrize("mode", [0, 1, 2])
@pytest.mark.parametrize("name", BATCHED)
def test_upstreams_model_trains_on_negatives_of_the_batch(name, mode, tmp_path):
    make, _ = BATCHED[name]
    loader = [rows(seed, "") for seed in range(4)]
    options = {"in_batch_neg": True, "in_batch_neg_ratio": 16, "hard_negative": mode == 1}
    one, _ = learnt(make, mode, loader if mode else [(x, _some(x)) for x, _ in loader], tmp_path, **options)
    for tower, dims in (("user", (2, 3)), ("item", (2,))):
        vectors = one.inference_embedding(one.model, tower, [x for x, _ in loader], str(tmp_path))
        assert vectors.dim() in dims
        assert len(vectors) == 4 * ROWS
        assert one.model.mode is None


def _some(x):
    """Labels that validation of mode 0 can be measured by."""
    return (torch.arange(len(x["item"])) % 2).float()


def _sasrec():
    features = [items("seq", shared_with=None), items("pos", shared_with="seq"), items("neg", shared_with="seq")]
    return matching.SASRec(features, LENGTH, 0.0)
