"""Names become plugins; the others are not imported, and a broken one breaks only itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rechub_cli import plugins
from rechub_cli.errors import SpecError, Unavailable

MODULE = '''
"""A model of somebody else's."""
from typing import Literal

Kind = Literal["a", "b"]


class Theirs:
    """Their model.

    A Paper (2020) https://example.org/paper.pdf.
    """

    def __init__(self, schema, *, depth: int = 3, kind: Kind = "a") -> None:
        self.depth = depth
'''


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """Makes an installed distribution of a module and its entry points."""
    monkeypatch.syspath_prepend(tmp_path)

    def installed(name: str, source: str, **groups: str) -> None:
        (tmp_path / f"{name}.py").write_text(source)
        info = tmp_path / f"{name}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
        lines = [f"[rechub.{group}]\n{entry}\n" for group, entry in groups.items()]
        (info / "entry_points.txt").write_text("\n".join(lines))

    return installed


def test_the_built_in_models_are_registered() -> None:
    assert {"lr", "fm", "mlp", "wide_deep", "deepfm", "dcn", "dcn_v2", "din"} <= set(plugins.names("models"))


def test_a_name_is_found_in_any_case_and_a_kind_in_the_singular() -> None:
    assert plugins.find("model", "DeepFM") == plugins.find("models", "deepfm")


def test_an_installed_plugin_is_found_loaded_and_described(install) -> None:  # type: ignore[no-untyped-def]
    install("theirs_one", MODULE, models="theirs = theirs_one:Theirs")
    assert "theirs" in plugins.names("models")
    described = plugins.describe("models", "theirs")
    assert (described.summary, described.papers) == ("Their model.", ("https://example.org/paper.pdf",))
    assert described.source == "theirs_one 1.2"
    assert {name: option.type for name, option in described.options.items()} == {
        "depth": "integer",
        "kind": "one of a, b",
    }
    assert "theirs_one" not in sys.modules
    assert plugins.load("models", "Theirs")(None, depth=2).depth == 2


def test_a_broken_plugin_breaks_only_itself(install) -> None:  # type: ignore[no-untyped-def]
    install("broken_one", "import not_there_at_all", models="broken = broken_one:Model")
    assert plugins.find("models", "broken").module == "broken_one"
    assert plugins.options("models", "deepfm")
    with pytest.raises(Unavailable) as caught:
        plugins.load("models", "broken")
    assert "broken_one 1.2 (entry point rechub.models: broken_one:Model)" in str(caught.value)
    assert "install the package that has 'not_there_at_all'" in str(caught.value)


@pytest.mark.parametrize("source", ["raise SystemExit(3)", "1 / 0", "def (", "Model = 3", ""])
def test_whatever_a_plugin_does_when_imported_is_told(install, source: str) -> None:  # type: ignore[no-untyped-def]
    name = f"bad_{len(source)}"
    install(name, source, models=f"bad = {name}:Model")
    with pytest.raises(Unavailable, match="bad"):
        plugins.load("models", "bad")
    with pytest.raises(Unavailable, match="bad"):
        plugins.options("models", "bad")


def test_a_name_that_two_packages_claim_is_refused(install) -> None:  # type: ignore[no-untyped-def]
    install("claim_a", MODULE, models="claimed = claim_a:Theirs")
    install("claim_b", MODULE, models="Claimed = claim_b:Theirs")
    with pytest.raises(SpecError, match=r"registered by claim_a 1\.2 and claim_b 1\.2"):
        plugins.find("models", "claimed")


def test_an_unknown_name_gets_a_guess_and_the_known_ones() -> None:
    with pytest.raises(SpecError, match=r"unknown model 'deepfmm'; did you mean 'deepfm'\? \(known: .*din.*\)"):
        plugins.load("models", "deepfmm")


def test_a_local_file_needs_no_registration(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MODULE)
    assert plugins.load("models", "./mine.py:Theirs", tmp_path)(None).depth == 3
    assert plugins.load("models", "mine.py:Theirs", tmp_path) is plugins.load("models", "./mine.py:Theirs", tmp_path)
    when = (tmp_path / "mine.py").stat()
    (tmp_path / "mine.py").write_text(MODULE.replace("= 3", "= 4"))
    os.utime(tmp_path / "mine.py", ns=(when.st_atime_ns, when.st_mtime_ns))  # by time and size it is the same file
    assert plugins.load("models", "./mine.py:Theirs", tmp_path)(None).depth == 4
    assert [path.name for path in tmp_path.iterdir()] == ["mine.py"]


def test_a_module_path_needs_no_registration(install) -> None:  # type: ignore[no-untyped-def]
    install("unregistered", MODULE)
    assert plugins.load("models", "unregistered:Theirs")(None).depth == 3
    assert list(plugins.options("models", "unregistered:Theirs")) == ["depth", "kind"]


@pytest.mark.parametrize(
    ("name", "error", "told"),
    [
        ("./none.py:Model", SpecError, "there is no file"),
        ("x y:Model", SpecError, "is neither pkg.mod:Class nor ./file.py:Class"),
        ("./mine.py:", SpecError, "after the colon comes the name"),
        ("./mine.py:a b", SpecError, "after the colon comes the name"),
        ("./mine.py:Other", Unavailable, "has no attribute 'Other'"),
        ("not_there_at_all.x:Model", Unavailable, "install the package that has 'not_there_at_all'"),
    ],
)
def test_a_plugin_named_in_place_that_is_not_there_is_told(
    tmp_path: Path, name: str, error: type[Exception], told: str
) -> None:
    (tmp_path / "mine.py").write_text(MODULE)
    with pytest.raises(error, match=told):
        plugins.load("models", name, tmp_path)


def test_reading_a_local_file_does_not_run_it(tmp_path: Path) -> None:
    (tmp_path / "unrun.py").write_text(MODULE + "\nopen('ran', 'w')\n")
    checked, problems = plugins.check_options("models", "./unrun.py:Theirs", {"depth": "2", "kind": "b"}, tmp_path)
    assert (checked, problems) == ({"depth": 2, "kind": "b"}, [])
    assert not Path("ran").exists()
    assert not any(name.startswith("rechub_local_unrun") for name in sys.modules)


def test_a_metric_may_carry_its_k() -> None:
    assert plugins.load_metric("ndcg@10").k == 10  # type: ignore[attr-defined]
    assert plugins.load_metric("NDCG").k is None  # type: ignore[attr-defined]
    info = plugins.metric_info("ndcg@10")
    assert (info.higher_is_better, info.needs_group) == (True, True)
    assert plugins.metric_info("logloss").higher_is_better is False


@pytest.mark.parametrize(
    "name", ["ndcg@", "ndcg@0", "ndcg@-1", "ndcg@1.5", "ndcg@ten", "@5", "auc@3", "aucc", "ndcg@" + "9" * 99]
)
def test_a_metric_name_that_means_nothing_is_refused(name: str) -> None:
    with pytest.raises(SpecError):
        plugins.metric_info(name)


def test_nothing_heavy_is_imported_to_know_all_of_this() -> None:
    program = """
import sys
from rechub_cli import plugins
for name in plugins.names("models"):
    plugins.describe("models", name)
for name in plugins.names("metrics"):
    plugins.metric_info(name)
assert not {"torch", "pandas", "pyarrow", "sklearn", "numpy"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", program], check=True)
