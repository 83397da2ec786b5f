"""The sample specs run alone, and a linear model does not see what is planted."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SAMPLE = Path(__file__).parents[2] / "sample_data" / "ctr"
MTL = SAMPLE.parent / "mtl"
BEST = 0.9036  # what make.py prints for the test rows


def rechub(*arguments, cwd):
    command = [sys.executable, "-m", "rechub_cli", *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("spec", sorted(path.name for path in SAMPLE.glob("*.yaml")))
def test_a_sample_spec_starts_as_it_is(spec, tmp_path):
    rechub("train-ctr", SAMPLE / spec, "--dry-run", "--limit-rows", "2000", cwd=tmp_path)


@pytest.mark.parametrize("spec", sorted(path.name for path in MTL.glob("*.yaml")))
def test_a_sample_spec_of_several_labels_starts_as_it_is(spec, tmp_path):
    rechub("train-mtl", MTL / spec, "--dry-run", "--limit-rows", "2000", cwd=tmp_path)


def test_a_linear_model_stays_far_below_the_best_auc(tmp_path):
    run = rechub("train-ctr", SAMPLE / "lr.yaml", "--epochs", "2", cwd=tmp_path).strip()
    metrics = json.loads(rechub("evaluate", run, "--data", SAMPLE / "test.parquet", "--json", cwd=tmp_path))
    assert 0.55 < metrics["metrics"]["auc"] < BEST - 0.1
