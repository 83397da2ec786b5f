"""Every trained retrieval model that is registered keeps the contract of rechub_cli.testing."""

from importlib.metadata import entry_points

import pytest

from rechub_cli import testing

OPTIONS = {
    "dssm": [{}, {"batch_norm": True, "activation": "dice", "dropout": 0.1}, {"normalize": False, "temperature": 1.0}],
    "youtube_dnn": [{}, {"hidden_dims": [], "normalize": False, "temperature": 1.0}],
    "mind": [
        {},
        {"interests": 2, "dynamic_interests": False, "routing_iterations": 1},
        {"normalize": False, "temperature": 1.0},
    ],
    "comirec_dr": [{}, {"normalize": False, "temperature": 1.0}],
    "comirec_sa": [{}, {"interests": 1, "normalize": False, "temperature": 1.0, "attention_dim": 16}],
    "sasrec": [{}, {"n_heads": 2, "hidden_dim": 16, "norm_first": False, "normalize": True, "temperature": 0.1}],
    "gru4rec": [{}, {"n_layers": 2, "hidden_dim": 12}],
    "sine": [{}, {"concepts": 4, "interests": 2, "normalize": True, "temperature": 0.1}],
}
COUNTING = {"popular", "item_knn", "ease"}  # nothing in them is trained
CASES = [
    pytest.param(entry, options, id=f"{entry.name}-{index}")
    for entry in entry_points(group="rechub.models")
    if entry.module.startswith("rechub_cli.models.matching.") and entry.name not in COUNTING
    for index, options in enumerate(OPTIONS.get(entry.name, [{}]))
]


@pytest.mark.parametrize(("entry", "options"), CASES)
@pytest.mark.parametrize("check", testing.MATCH_CHECKS, ids=lambda check: check.__name__)
def test_match_model_keeps_the_contract(check, entry, options):
    check(entry.load(), **options)
