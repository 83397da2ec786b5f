"""Names of a retrieval spec, checked without torch."""

from pathlib import Path

import pytest

from rechub_cli.spec.model import Spec
from rechub_cli.spec.names import check_names


def problems(model="dssm", features=None, **trainer):
    features = {"item": {"type": "sparse"}, **(features or {})}
    spec = Spec.model_validate({"features": features, "model": {"name": model}, "trainer": trainer})
    return {".".join(map(str, one.path)): (one.text, one.suggestion) for one in check_names(spec, Path())[1]}


SHOWN = {"type": "sequence", "shares": "item", "role": "negatives"}


@pytest.mark.parametrize(
    "trainer",
    [
        {},
        {"mode": "pairwise", "loss": "hinge", "loss_params": {"margin": 1}, "negatives": {"name": "mixed", "n": 8}},
        {"loss": "gbce", "negatives": "full", "monitor": "recall@50", "metrics": ["coverage@10", "mrr"]},
        {"mode": 2, "loss_params": {"correct_positive": True}},
    ],
)
def test_sound_ones(trainer):
    assert problems(**trainer) == {}


@pytest.mark.parametrize(
    ("trainer", "path", "text", "suggestion"),
    [
        ({"metrics": ["recal@10"]}, "trainer.metrics.0", "unknown retrieval metric 'recal'", "recall"),
        ({"monitor": "auc"}, "trainer.monitor", "unknown retrieval metric 'auc'", None),
        ({"monitor": {"ndcg@10": 1}}, "trainer.monitor", "is one metric", None),
        ({"loss": "sofmax"}, "trainer.loss", "unknown retrieval loss 'sofmax'", "softmax"),
        ({"loss": "gbce", "mode": 2}, "trainer.loss", "is of mode 0, not of mode 2", None),
        ({"loss_params": {"t": 1}}, "trainer.loss_params.t", "has no option 't'", None),
        ({"loss": "gbce", "loss_params": {"t": "x"}}, "trainer.loss_params.t", "expected a number", None),
        ({"negatives": "unform"}, "trainer.negatives", "unknown sampler 'unform'", "uniform"),
        ({"negatives": {"n": 3}}, "trainer.negatives", "needs 'name:'", None),
        ({"negatives": {"name": "uniform", "m": 3}}, "trainer.negatives.m", "has no option 'm'", None),
        ({"negatives": {"name": "uniform", "n": 0}}, "trainer.negatives.n", "must be at least 1", None),
        ({"negatives": "given"}, "trainer.negatives", "the features have none", None),
    ],
)
def test_faults_are_told_at_their_place(trainer, path, text, suggestion):
    found = problems(**trainer)
    assert list(found) == [path]
    assert text in found[path][0]
    assert found[path][1] == suggestion


def test_given_negatives_name_their_column_where_there_are_several():
    assert problems(features={"shown": SHOWN}, negatives="given") == {}
    two = {"a": SHOWN, "b": SHOWN}
    assert "say 'feature:', one of a, b" in problems(features=two, negatives="given")["trainer.negatives"][0]
    assert problems(features=two, negatives={"name": "given", "feature": "b"}) == {}


def test_a_model_of_labels_has_no_negatives():
    found = problems(model="deepfm", negatives="uniform", monitor="auc")
    assert found == {"trainer.negatives": ("is for retrieval models: deepfm is none", None)}
