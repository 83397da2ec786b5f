"""Every retrieval model that learns does so in every mode, from negatives of every kind."""

from importlib.metadata import entry_points
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from rechub_cli import MatchTrainer
from rechub_cli.batch import Jagged
from rechub_cli.testing import match_rows

COUNTING = {"popular", "item_knn", "ease"}
MODELS = [
    entry
    for entry in entry_points(group="rechub.models")
    if entry.module.startswith("rechub_cli.models.matching.") and entry.name not in COUNTING
]
ITEMS = SimpleNamespace(
    batch=match_rows.catalogue(), counts=torch.arange(match_rows.ITEMS) + 1
)  # as much of a catalogue as a trainer needs

SHOWN = torch.arange(64).reshape(32, 2).int() % match_rows.ITEMS  # places


@pytest.mark.parametrize("mode", [0, 1, 2])
@pytest.mark.parametrize("entry", MODELS, ids=lambda entry: entry.name)
def test_a_model_learns_from(entry, mode, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    torch.set_num_threads(1)
    kinds = ["in_batch", ("in_batch", {"hard": 3}), ("mixed", {"n": 8}), "full", "given"]
    kinds += [("uniform", {"n": 3, "per": per}) for per in ("row", "query")]
    for negatives in kinds:
        torch.manual_seed(0)
        model = entry.load()(match_rows.MATCH_SCHEMA)
        batch = match_rows.tastes(8)
        if getattr(model, "sequential", False):
            batch = match_rows.histories_only(batch)
        batch.sequences["shown"] = Jagged(SHOWN.flatten(), torch.arange(len(batch) + 1) * 2)
        options = {"optimizer_params": {"lr": 0.03}, "catalogue": ITEMS, "seed": 1, "device": "cpu"}
        trainer = MatchTrainer(model.train(), mode=mode, negatives=negatives, **options)
        before = [parameter.detach().clone() for parameter in model.parameters()]
        losses = [float(trainer.step(batch)[0]) for _ in range(16 if negatives == "in_batch" else 1)]
        assert np.isfinite(losses).all(), negatives
        assert any(not torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True)), negatives
        if negatives == "in_batch":  # the hardest change from step to step, and so may their loss
            assert losses[-1] < 0.95 * losses[0]
