"""The plugin of docs/plugins, installed as a stranger would, trains like a built-in model."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SPEC = """
data: {train: train.csv, split: {method: random, valid: 0.2}}
embed_dim: 4
features:
  user: {type: sparse}
  item: {type: sparse}
  price: {type: dense}
labels:
  click: {type: classification}
model: {name: NFM, params: {hidden_dims: [8]}}
trainer: {n_epoch: 1, batch_size: 64}
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """The variables of a process that sees the installed plugin."""
    folder = tmp_path_factory.mktemp("plugin")
    source = shutil.copytree(ROOT / "docs/plugins/rechub-nfm", folder / "source")  # pip leaves build files there
    flags = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--target", str(folder / "site")]
    command = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", *flags, str(source)]
    subprocess.run(command, check=True, timeout=120)
    return {**os.environ, "PYTHONPATH": str(folder / "site"), "OMP_NUM_THREADS": "1"}


def run(environment, folder, *arguments):
    return subprocess.run(
        [sys.executable, *arguments], env=environment, cwd=folder, capture_output=True, text=True, timeout=120
    )


def test_the_example_keeps_the_contract(environment):
    done = run(
        environment, ROOT / "docs/plugins/rechub-nfm", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "9 passed" in done.stdout


def test_the_command_trains_with_the_example(environment, tmp_path):
    rows = "\n".join(f"u{i % 7},i{i % 5},{i / 100},{(i % 7 + i % 5) % 2}" for i in range(400))
    (tmp_path / "train.csv").write_text(f"user,item,price,click\n{rows}\n")
    (tmp_path / "nfm.yaml").write_text(SPEC)
    done = run(environment, tmp_path, "-m", "rechub_cli", "train-ctr", "nfm.yaml", "--output", "run")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "run.json").exists()


def test_a_wrong_option_of_the_example_is_found_before_it_is_imported(environment, tmp_path):
    check = (
        "import sys; from rechub_cli import plugins as p; print(p.check_options('models', 'nfm', {'hiden_dims': [8]}))"
    )
    done = run(environment, tmp_path, "-c", f"{check}; assert 'torch' not in sys.modules")
    assert done.returncode == 0, done.stderr
    assert "suggestion='hidden_dims'" in done.stdout
