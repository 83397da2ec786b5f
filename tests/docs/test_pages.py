"""The pages say what the code does: no key, exit code, plugin or link is missing or made up."""

import re
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from rechub_cli import errors
from rechub_cli.spec import model

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(DOCS.glob("*.md"))]


def read(name):
    return (DOCS / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("section", model.Section.__subclasses__() + model.FeatureSpec.__subclasses__())
def test_every_key_of_a_spec_is_described(section):
    text = read("spec.md")
    missing = [key for key in section.model_fields if f"`{key}`" not in text and f"## {key}" not in text]
    assert [key for key in missing if f"{key}:" not in text and f"{key}," not in text] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_exit_codes_are_those_of_the_errors():
    listed = set(map(int, re.findall(r"^\| (\d+) \|", read("commands.md"), re.MULTILINE)))
    raised = {kind.exit_code for kind in errors.RechubError.__subclasses__()} | {0, 70}
    assert raised <= listed


def test_the_readme_names_all_models():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [point.name for point in entry_points(group="rechub.models") if f"`{point.name}`" not in text] == []


def test_the_spec_page_names_all_metrics():
    names = [point.name for point in entry_points(group="rechub.metrics")]
    assert [name for name in names if f"`{name}" not in read("spec.md")] == []
