"""Every multi-task model that is registered keeps the contract of rechub_cli.testing.multi_task."""

from importlib.metadata import entry_points

import pytest

from rechub_cli.testing.multi_task import MULTI_TASK_CHECKS

SMALL = {"expert_hidden_dims": [16], "tower_hidden_dims": [8]}
OPTIONS = {
    "shared_bottom": [{"bottom_hidden_dims": [32]}, {"batch_norm": False, "activation": "gelu"}],
    "mmoe": [{"n_experts": 3, **SMALL}, {"gate_hidden_dims": [8], "task_features": {"buy": ["price", "tags"]}}],
    "ple": [SMALL, {"n_levels": 2, "n_specific_experts": 1, **SMALL}],
    "stem": [SMALL],
    "home": [SMALL, {"groups": {"first": ["click"], "second": ["buy"]}, "n_experts": 1, **SMALL}],
    "esmm": [{"tower_hidden_dims": [32]}],
    "aitm": [{"bottom_hidden_dims": [32, 16]}],
}
CASES = [
    pytest.param(entry, options, id=f"{entry.name}-{index}")
    for entry in entry_points(group="rechub.models")
    if entry.module.startswith("rechub_cli.models.multi_task.")
    for index, options in enumerate(OPTIONS.get(entry.name, [{}]))
]


@pytest.mark.parametrize(("entry", "options"), CASES)
@pytest.mark.parametrize("check", MULTI_TASK_CHECKS, ids=lambda check: check.__name__)
def test_multi_task_model_keeps_the_contract(check, entry, options):
    check(entry.load(), **options)
