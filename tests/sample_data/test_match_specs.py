"""The sample retrieval specs run alone; a model of sequences finds what counting cannot."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SAMPLE = Path(__file__).parents[2] / "sample_data" / "match"


def rechub(*arguments, cwd):
    command = [sys.executable, "-m", "rechub_cli", *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("spec", sorted(path.name for path in SAMPLE.glob("*.yaml")))
def test_a_sample_spec_starts_as_it_is(spec, tmp_path):
    rechub("train-match", SAMPLE / spec, "--dry-run", "--limit-rows", "5000", cwd=tmp_path)


def test_two_epochs_of_two_towers_find_more_than_counting(tmp_path):
    run = rechub("train-match", SAMPLE / "dssm.yaml", "--epochs", "2", cwd=tmp_path).strip()
    info = json.loads((tmp_path / run / "run.json").read_text())
    counted = info["baselines"]["test"]
    assert counted["popular"]["recall@10"] < 0.1
    assert 0.2 < counted["item_knn"]["recall@10"] < 0.35
    assert 0.48 < info["test"]["recall@10"] < 0.5934
