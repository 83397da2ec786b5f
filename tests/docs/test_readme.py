"""Every command of the README runs as it stands, in its order, in a copy of the repository."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BEST = 0.9036  # AUC on the sample's test rows, as sample_data/make.py prints it
NOT_THERE = {"runs", "build", "dist"}


def blocks(path, language):
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """The repository's files under another folder, so that what the commands write goes there."""
    folder = tmp_path_factory.mktemp("clone")
    for path in ROOT.iterdir():
        if path.name not in NOT_THERE:
            (folder / path.name).symlink_to(path)
    return folder


def run(clone, script, *, interpreter=("bash", "-euo", "pipefail", "-c")):
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RECHUB_")}
    done = subprocess.run(
        [*interpreter, script],
        cwd=clone,
        env={**environment, "PATH": path},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def shell(clone):
    """What the README's shell blocks print, run as one script."""
    commands = "\n".join(blocks(ROOT / "README.md", "sh"))
    assert "make demo\n" in commands
    assert "activate\n" in commands
    # The environment is the one this test runs in.
    commands = commands.replace("make demo\n", "sample_data/demo.sh\n").replace(". .venv/bin/activate\n", "")
    return run(clone, commands)


def test_the_demo_prints_scores_and_a_good_auc(shell):
    assert re.search(r"^user_id,item_id,score\nu\d+,i\d+,0\.\d+$", shell, re.MULTILINE)
    auc = float(re.search(r"auc\W+(0\.\d+)", shell)[1])
    assert BEST - 0.01 < auc < BEST + 0.003


def test_rows_from_standard_input_are_scored(shell):
    assert re.search(r"^score\n0\.\d+\n0\.\d+$", shell, re.MULTILINE)


def test_predict_wrote_the_columns_that_were_kept(shell, clone):
    import pyarrow.parquet as pq

    scores = pq.read_table(clone / "scores.parquet")
    assert scores.column_names == ["user_id", "item_id", "score"]
    assert scores["user_id"].equals(pq.read_table(ROOT / "sample_data/ctr/test.parquet")["user_id"])


@pytest.mark.parametrize("page", ["README.md", "docs/python.md"])
def test_python_blocks_run(shell, clone, page):
    run(clone, "\n".join(blocks(ROOT / page, "python")), interpreter=(sys.executable, "-W", "error", "-c"))


def test_the_page_on_retrieval_runs(clone):
    import pyarrow.parquet as pq

    page = ROOT / "docs/retrieval.md"
    run(clone, "\n".join(blocks(page, "sh")))
    run(clone, "\n".join(blocks(page, "python")), interpreter=(sys.executable, "-W", "error", "-c"))
    exact, near = (pq.read_table(clone / name).to_pydict() for name in ("lists.parquet", "approximate.parquet"))
    assert set(exact["rank"]) == set(near["rank"]) == set(range(1, 11))


def test_the_page_on_several_labels_runs(clone):
    import pyarrow.parquet as pq

    run(clone, "\n".join(blocks(ROOT / "docs/multi_task.md", "sh")))
    assert "score_click" in pq.read_table(clone / "scores.parquet").column_names


def test_make_demo_is_the_script_that_was_run():
    assert re.search(r"^demo:.*\n\tsample_data/demo\.sh$", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_the_readmes_spec_is_valid(tmp_path):
    from rechub_cli.spec.read import read_spec

    for page, model in (("README.md", "deepfm"), ("docs/retrieval.md", "dssm")):
        (spec,) = blocks(ROOT / page, "yaml")
        (tmp_path / "spec.yaml").write_text(spec)
        assert read_spec(tmp_path / "spec.yaml").spec.model.name == model
