"""Every ranking model that is registered keeps the contract of rechub_cli.testing."""

from importlib.metadata import entry_points

import pytest

from rechub_cli import testing

OPTIONS = {
    "deepfm": [{}, {"hidden_dims": [], "dropout": 0.0}, {"activation": "prelu", "batch_norm": False}],
    "dcn_v2": [
        {},
        {"structure": "stacked", "low_rank": 4},
        {"structure": "crossnet_only", "low_rank": 4, "num_experts": 3},
    ],
    "din": [{}, {"attention_hidden_dims": [16, 8], "attention_activation": "relu", "batch_norm": True}],
}
CASES = [
    pytest.param(entry, options, id=f"{entry.name}-{index}")
    for entry in entry_points(group="rechub.models")
    if entry.module.startswith("rechub_cli.models.ranking.")
    for index, options in enumerate(OPTIONS.get(entry.name, [{}]))
]


@pytest.mark.parametrize(("entry", "options"), CASES)
@pytest.mark.parametrize("check", testing.CHECKS, ids=lambda check: check.__name__)
def test_model_keeps_the_contract(check, entry, options):
    check(entry.load(), **options)
