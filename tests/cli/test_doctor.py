"""``doctor``: one paste for a bug report, without secrets."""

import json
import os

import pytest
import torch

from rechub_cli.plugins import registry
from rechub_cli.workflows import doctor


def test_it_tells_what_matters_and_no_secret(here, tmp_path):
    secrets = {"RECHUB_TRACKER_TOKEN": "s3cret", "RECHUB_RUNS_DIR": "runs", "RECHUB_DATA": "s3://me:s3cret@bucket/x"}
    ended = here("doctor", cwd=tmp_path, **secrets)
    assert ended.code == 0, ended.out
    assert "s3cret" not in ended.out + ended.err
    facts = dict(line.split(maxsplit=1) for line in ended.out.splitlines() if len(line.split(maxsplit=1)) == 2)
    assert facts["torch"] == torch.__version__
    assert facts["RECHUB_DATA"] == "s3://***@bucket/x"
    assert facts["RECHUB_TRACKER_TOKEN"] == "(set)"
    assert (facts["writable"], facts["locks"], facts["links"]) == ("yes", "yes", "yes")
    assert list(tmp_path.iterdir()) == []  # it leaves nothing behind


def test_json_is_one_document_with_the_limits(here, tmp_path):
    found = json.loads(here("doctor", "--json", cwd=tmp_path).out)
    assert (found["v"], found["ok"], found["faults"]) == (1, True, [])
    assert found["machine"]["memory"] > 10**8
    assert found["machine"]["cpus_allowed"] >= 1
    assert found["plugins"]["models"] > 20


@pytest.mark.parametrize("value", ["0", "1"])
def test_it_tells_whether_the_compiled_loops_are_in_use(here, tmp_path, value):
    ended = here("doctor", "--json", cwd=tmp_path, RECHUB_KERNELS=value)
    kernels = json.loads(ended.out)["versions"]["kernels"]
    assert kernels == "off (RECHUB_KERNELS=0)" if value == "0" else kernels.startswith(("compiled", "not built"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_runs_folder_that_cannot_be_written_is_a_fault(here, tmp_path):
    tmp_path.chmod(0o500)
    ended = here("doctor", cwd=tmp_path)
    assert (ended.code, "cannot be written" in ended.out) == (3, True)


def test_a_library_that_cannot_be_imported_is_a_fault(here, tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "STACK", ("nowhere-at-all",))
    ended = here("doctor", cwd=tmp_path)
    assert (ended.code, "nowhere-at-all cannot be imported" in ended.out) == (3, True)


def test_a_broken_plugin_of_others_is_a_warning(here, tmp_path, monkeypatch):
    from importlib.metadata import EntryPoint

    real = registry.entry_points

    def more(**wanted):
        found = list(real(**wanted))
        broken = EntryPoint("nope", "nowhere.at.all:Nope", "rechub.models")
        return [*found, broken] if wanted.get("group") == "rechub.models" else found

    monkeypatch.setattr(registry, "entry_points", more)
    registry._installed.cache_clear()
    try:
        found = json.loads(here("doctor", "--json", cwd=tmp_path).out)
    finally:
        registry._installed.cache_clear()
    assert found["ok"] is True
    assert any("nope" in warning for warning in found["warnings"])
